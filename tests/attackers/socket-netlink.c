/* Speaks to the audit, netfilter, connector and SELinux netlinks of the kernel (netlink(7)). */
#include "common/attack.h"

static void attempt(void) {
    struct {
        struct nlmsghdr header;
        char text[64];
    } message = {.header = {sizeof message, 0, NLM_F_REQUEST, 1, 0}, .text = "op=" MARK};
    for (int protocol = 0; protocol < 23; protocol++) {
        int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
        printf("protocol %d: %s\n", protocol, fd < 0 ? strerror(errno) : "open");
        if (fd >= 0 && protocol == NETLINK_AUDIT) {
            /* AUDIT_USER_LOGIN, AUDIT_SET */
            message.header.nlmsg_type = 1112;
            TRY(send(fd, &message, sizeof message, 0));
            message.header.nlmsg_type = 1001;
            TRY(send(fd, &message, sizeof message, 0));
        }
        close(fd);
    }
}
