#!/bin/bash
# Runs one workload of a whole system, as the kernel's command line says (yado.run=NAME yado.scale=PERCENT yado.port=PORT), prints the marks of
# workloads.sh on the serial port and powers off. A unit of systemd's starts it once the system is up.
exec >/dev/ttyS0 2>&1
for word in $(</proc/cmdline); do
    case "$word" in
        yado.run=*) name=${word#*=} ;;
        yado.scale=*) percent=${word#*=} ;;
        yado.port=*) port=${word#*=} ;;
    esac
done

scaled() { echo $(($1 * percent / 100)); }
begin() { echo; echo "@begin $name $EPOCHREALTIME"; }
end() { echo "@end $name $EPOCHREALTIME"; }
rate() { echo "@rate $name $*"; }
result() { echo "@result $name $*"; }

# Of libstb: the file that has the whole of a decoder for images in it.
source=/tmp/image.c
echo '#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>' >$source

disk() {
    begin
    bytes=$(fio --name=disk --filename=/dev/vdc --readonly --ioengine=libaio --direct=1 "$@" --runtime="$(scaled 8)" --time_based --output-format=json |
        sed -n '/"read"/,/"bw_bytes"/ s/.*"bw_bytes" : \([0-9]*\).*/\1/p')
    end
    rate "$bytes" bytes/s
}

network() {
    begin
    bits=$(iperf3 -c 10.0.2.2 -p "$port" -t "$(scaled 8)" -f k "$@" | awk '/receiver/ { print $7 }')
    end
    rate "$((bits * 125))" bytes/s
}

case "$name" in
    gcc)
        begin
        for i in $(seq "$(scaled 4)"); do
            gcc -O2 -c -o /tmp/image.o $source
        done
        end
        result "$(sha256sum </tmp/image.o | cut -c 1-16)"
        ;;
    make*)
        mkdir /tmp/make
        for i in $(seq "$(scaled 8)"); do
            { cat $source; echo "int number(void) { return $i; }"; } >/tmp/make/$i.c
        done
        printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n%%.o: %%.c\n\tgcc -O2 -c -o $@ $<\n' >/tmp/make/Makefile
        begin
        make -s -C /tmp/make -j"$(nproc)"
        end
        result "$(cat /tmp/make/*.o | sha256sum | cut -c 1-16)"
        ;;
    read-seq) disk --rw=read --bs=1M --iodepth=8 ;;
    read-4k) disk --rw=randread --bs=4k --iodepth=32 ;;
    net-out) network ;;
    net-in) network -R ;;
esac
poweroff -f
