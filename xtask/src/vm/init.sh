#!/usr/bin/busybox sh
# The first process of a virtual machine: mounts what the boot line asks for, runs the suite, powers off.
# What the suite reports goes to the serial port that the boot line names, everything else to the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin WIRESPAN_BIN=/usr/bin/wirespan WIRESPAN_ALONE=1
/usr/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /run /var
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mount -t securityfs none /sys/kernel/security
mount -t bpf none /sys/fs/bpf
mkdir -p /run/netns

v1() {
    mount -t tmpfs none /sys/fs/cgroup
    for controller in cpu memory pids freezer; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" none "/sys/fs/cgroup/$controller" || rmdir "/sys/fs/cgroup/$controller"
    done
}
cmdline=" $(cat /proc/cmdline) "
case "$cmdline" in
*" wirespan.cgroup=v1 "*) v1 ;;
*" wirespan.cgroup=hybrid "*)
    v1
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 none /sys/fs/cgroup/unified
    ;;
*) mount -t cgroup2 none /sys/fs/cgroup ;;
esac

hostname machine
ip link set lo up
report="${cmdline#* wirespan.report=}"
report="/dev/${report%% *}"
# The line's own processing would add carriage returns and echo.
stty -F "$report" raw -echo
behaviours >"$report"
echo "the suite ended with $?"
poweroff -f
