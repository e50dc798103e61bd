/* kexec KERNEL: loads another kernel, for reboot(2) to go on with. */
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static const char words[] = "console=ttyS0 panic=-1";
    int kernel = argc == 2 ? open(argv[1], O_RDONLY) : -1;
    if (syscall(SYS_kexec_file_load, kernel, -1, sizeof words, words, KEXEC_FILE_NO_INITRAMFS) == 0)
        return 0;
    perror("kexec_file_load");
    return 1;
}
