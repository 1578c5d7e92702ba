# The kernel's own tests of what x86 does for it: signals, segments, single steps, system calls in all ways. A line for each program.
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
cd /tmp || exit 1
for program in /selftests/*; do
    timeout 120 "$program" > log 2>&1
    status=$?
    echo "selftest: ${program##*/} $status"
    [ $status -eq 0 ] || grep FAIL log | head -n 5
done
echo "selftests: done"
