/* Runs a fuzz target over the files of the folders given as arguments: no libFuzzer needed. */
#include "fuzz.h"

#include <dirent.h>

static unsigned replay_folder(const char *folder)
{
    static uint8_t data[1 << 20];
    char path[4096];
    unsigned count = 0;
    DIR *entries = opendir(folder);
    CHECK(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        CHECK(snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path);
        FILE *file = fopen(path, "rb");
        CHECK(file);
        LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
        fclose(file);
        count++;
    }
    closedir(entries);
    return count;
}

int main(int count, char **folders)
{
    for (int i = 1; i < count; i++) {
        unsigned inputs = replay_folder(folders[i]);
        printf("%s: %u inputs\n", folders[i], inputs);
        CHECK(inputs > 0);
    }
    return 0;
}
