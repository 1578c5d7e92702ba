# stress-ng, which looks whether what it computed and stored is right. A line for each kind, four processes of it at a time.
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
ip link set lo up
cd /tmp || exit 1
for kind in cpu matrix vecmath vecwide memcpy mmap fork vfork clone futex pipe sem sem-sysv signal sigfpe sigsegv sigtrap sigq atomic bsearch qsort radixsort str wcs \
    switch timer vm tsc membarrier lockbus mcontend fp-error longjmp nop icache cache zlib tree hash funccall branch misaligned eventfd poll epoll mutex exec mremap \
    mprotect stack context sock shm msg itimer nanosleep stream opcode; do
    # Without a size of its own "stream" takes many times the processor's cache, which may be most of the guest's memory.
    timeout 100 stress-ng --verify --timeout 1s --stream-l3-size 4M --$kind 4 > log 2>&1
    status=$?
    echo "stress: $kind $status"
    [ $status -eq 0 ] || tail -n 5 log
done
echo "stress: done"
echo "guest: dmesg begins"
dmesg
echo "guest: dmesg ends"
