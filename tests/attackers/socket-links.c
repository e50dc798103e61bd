/* Makes links of every kind, has the kernel load them, and moves them to other namespaces (rtnetlink(7); CVE-2022-25636's way in). */
#include "common/attack.h"

struct request {
    struct nlmsghdr header;
    char family, pad;
    short type;
    int index;
    unsigned flags, change;
    char attributes[256];
};

static int add(struct request *request, int type, const void *data, int len) {
    short *at = (short *)((char *)request + request->header.nlmsg_len);
    at[0] = len + 4;
    at[1] = type;
    memcpy(at + 2, data, len);
    request->header.nlmsg_len += (len + 7) & ~3;
    return request->header.nlmsg_len;
}

static void attempt(void) {
    static const char *kinds[] = {"dummy", "veth", "bridge", "vlan", "macvlan", "ipvlan", "wireguard", "tun", "vxlan", "gre"};
    int fd = TRY(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char reply[4096], name[16], info[64];
        int one = 1, len = strlen(kinds[i]);
        struct request request = {.header = {32, 16 /* RTM_NEWLINK */, 0x605, 1, 0}};
        snprintf(name, sizeof name, "attacker%u", i);
        add(&request, 3 /* IFLA_IFNAME */, name, strlen(name) + 1);
        if (i % 2) {
            add(&request, 19 /* IFLA_NET_NS_PID */, &one, sizeof one);
        }
        ((short *)info)[0] = len + 4;
        ((short *)info)[1] = 1 /* IFLA_INFO_KIND */;
        memcpy(info + 4, kinds[i], len);
        add(&request, 18 /* IFLA_LINKINFO */, info, len + 4);
        send(fd, &request, request.header.nlmsg_len, 0);
        ssize_t got = recv(fd, reply, sizeof reply, 0);
        printf("%s: %s\n", kinds[i], got > 19 ? strerror(-*(int *)(reply + 16)) : "no answer");
    }
    struct ifreq name = {.ifr_name = "lo"};
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    TRY(ioctl(any, 0x8914 /* SIOCSIFFLAGS */, &name));
    for (int n = 0; n < 100; n++) {
        snprintf(name.ifr_name, sizeof name.ifr_name, "eth%d", n);
        ioctl(any, 0x8914, &name);
    }
}
