#!/bin/busybox sh
# The first process of a test guest. See GuestImages for the words that it obeys.
# Until /proc is there busybox can't find itself, so the first steps name it in full.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
export PATH=/usr/bin:/bin:/yado HOME=/root LC_ALL=C TERM=dumb

names= scale=100 end=
for word in $(cat /proc/cmdline); do
    case "$word" in
        yado.run=*) names=${word#yado.run=} ;;
        yado.scale=*) scale=${word#yado.scale=} ;;
        yado.end=*) end=${word#yado.end=} ;;
    esac
done

read -r up _ < /proc/uptime
echo "guest: ready after $up s"

if [ -n "$names" ]; then
    for name in $(echo "$names" | tr , ' '); do
        case "$name" in
            exercise) sh /yado/exercise.sh ;;
            node | java | pypy) sh /yado/exercise.sh "$name" ;;
            selftests | stress) sh "/yado/$name.sh" ;;
            dmesg) echo "guest: dmesg begins"; dmesg; echo "guest: dmesg ends" ;;
            *) sh /yado/workloads.sh "$name" "$scale" ;;
        esac
    done
    end=${end:-poweroff}
fi

echo "guest: ${end:-shell}"
case "$end" in
    poweroff) poweroff -f ;;
    reboot) reboot -f ;;
    panic) echo c > /proc/sysrq-trigger ;;
    *) setsid cttyhack sh; poweroff -f ;;
esac
# The call above returned: there is nothing left to do but wait, since the end of the first process is a panic.
while :; do sleep 1000; done
