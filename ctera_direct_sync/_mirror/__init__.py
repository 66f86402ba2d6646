"""Making a local folder equal to a folder of the portal, and keeping it so."""
