/* Sends device events that programs of the host would believe (netlink(7) NETLINK_KOBJECT_UEVENT; CVE-2009-1185). */
#include "common/attack.h"

static void attempt(void) {
    static const char event[] = "add@/devices/virtual/" MARK "\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=sda";
    struct sockaddr_nl everybody = {.nl_family = AF_NETLINK, .nl_groups = 1 | 2};
    int fd = TRY(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    TRY(sendto(fd, event, sizeof event, 0, (struct sockaddr *)&everybody, sizeof everybody));
    struct sockaddr_nl one = {.nl_family = AF_NETLINK};
    for (one.nl_pid = 1; one.nl_pid < PIDS; one.nl_pid++) {
        sendto(fd, event, sizeof event, MSG_DONTWAIT, (struct sockaddr *)&one, sizeof one);
    }
}
