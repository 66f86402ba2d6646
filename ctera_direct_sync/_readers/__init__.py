"""What callers read with: streams, file objects, ranges, downloads to files, batches."""
