/* map NAME DEVICE: a device of the device mapper that is all of DEVICE. map NAME: has every request to it wait for ever. */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static char buffer[1024];

static int ask(int control, unsigned long request, const char *name, unsigned flags)
{
    struct dm_ioctl *head = (struct dm_ioctl *)buffer;
    head->version[0] = DM_VERSION_MAJOR;
    head->data_size = sizeof buffer;
    head->data_start = sizeof *head;
    head->flags = flags;
    snprintf(head->name, sizeof head->name, "%s", name);
    if (ioctl(control, request, head) == 0)
        return 0;
    perror("ioctl");
    return 1;
}

int main(int argc, char **argv)
{
    int control = open("/dev/mapper/control", O_RDWR);
    /* Without NOLOCKFS the file system would be frozen first, and nobody would write. */
    if (argc == 2)
        return ask(control, DM_DEV_SUSPEND, argv[1], DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG);
    if (argc != 3)
        return 2;
    unsigned long long bytes = 0;
    int disk = open(argv[2], O_RDONLY);
    if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes) != 0 || ask(control, DM_DEV_CREATE, argv[1], 0) != 0)
        return 1;
    close(disk);
    memset(buffer, 0, sizeof buffer);
    struct dm_target_spec *target = (struct dm_target_spec *)(buffer + sizeof(struct dm_ioctl));
    target->length = bytes / 512;
    strcpy(target->target_type, "linear");
    snprintf((char *)(target + 1), 64, "%s 0", argv[2]);
    ((struct dm_ioctl *)buffer)->target_count = 1;
    if (ask(control, DM_TABLE_LOAD, argv[1], 0) != 0)
        return 1;
    memset(buffer, 0, sizeof buffer);
    return ask(control, DM_DEV_SUSPEND, argv[1], 0);
}
