# usage: sh workloads.sh NAME PERCENT
# Runs one workload and prints lines for the driver: "@begin NAME SECONDS", "@end NAME SECONDS" (of this machine's clock) around what is
# measured, "@rate NAME VALUE UNIT" for those that count work in a fixed time, and "@result NAME TEXT", which must be the same everywhere.
. "${ROOT:-}/yado/guest-lib.sh"
name=$1
percent=${2:-100}

scaled() { echo $(($1 * percent / 100)); }
begin() { echo "@begin $name $EPOCHREALTIME"; }
end() { echo "@end $name $EPOCHREALTIME"; }
result() { echo "@result $name $*"; }
digest() { "$BUSYBOX" sha256sum | "$BUSYBOX" cut -c 1-16; }

case "$name" in
shell)
    n=$(scaled 300000) i=0 s=0
    begin
    while [ $i -lt $n ]; do
        s=$(((s * 31 + i) & 65535))
        i=$((i + 1))
    done
    end
    result $s
    ;;
forkexec)
    n=$(scaled 1200) i=0
    begin
    while [ $i -lt $n ]; do
        "$BUSYBOX" true
        i=$((i + 1))
    done
    end
    result $i
    ;;
short)
    # Each computes for some milliseconds: none is there for long enough to show what it is like.
    n=$(scaled 120) i=0
    "$BUSYBOX" head -c 20000 "$CORPUS" > "$WORK/piece"
    begin
    while [ $i -lt $n ]; do
        run usr/bin/xz -1 -T1 -c "$WORK/piece"
        run bin/gzip -6 -n -c "$WORK/piece"
        run usr/bin/sha256sum < "$WORK/piece"
        run usr/bin/sort --parallel=1 -k 2 "$WORK/piece"
        run usr/bin/mawk '{ for (i = 1; i <= NF; i++) h[$i]++ } END { for (w in h) { n++; s += h[w] } print n, s }' "$WORK/piece"
        run usr/bin/perl -e 'my $s = 7; $s = ($s * 31 + $_) & 0xffffff for 1 .. 10000; print "$s\n"'
        i=$((i + 1))
    done > "$WORK/shorts"
    end
    result $(digest < "$WORK/shorts")
    ;;
syscall)
    n=$(scaled 2000000)
    begin
    "$BUSYBOX" dd if=/dev/zero of=/dev/null bs=1 count=$n 2>/dev/null
    end
    result $n
    ;;
pipe)
    n=$(scaled 32000)
    begin
    "$BUSYBOX" dd if=/dev/zero bs=65536 count=$n 2>/dev/null | "$BUSYBOX" dd of=/dev/null bs=65536 2>/dev/null
    end
    result $n
    ;;
gzip)
    n=$(scaled 8) i=0
    begin
    while [ $i -lt $n ]; do
        run bin/gzip -6 -n -c "$CORPUS" > "$WORK/corpus.gz"
        i=$((i + 1))
    done
    end
    result $(digest < "$WORK/corpus.gz")
    ;;
xz)
    "$BUSYBOX" head -c $(scaled 2000000) "$CORPUS" > "$WORK/corpus"
    begin
    run usr/bin/xz -6 -T1 -c "$WORK/corpus" > "$WORK/corpus.xz"
    end
    result $(digest < "$WORK/corpus.xz")
    ;;
sha256)
    n=$(scaled 100) i=0
    while [ $i -lt 4 ]; do
        "$BUSYBOX" cat "$CORPUS"
        i=$((i + 1))
    done > "$WORK/big"
    i=0 set --
    while [ $i -lt $((n / 4)) ]; do
        set -- "$@" "$WORK/big"
        i=$((i + 1))
    done
    begin
    sum=$(run usr/bin/sha256sum "$@" | "$BUSYBOX" cut -c 1-16 | "$BUSYBOX" uniq)
    end
    result $sum
    ;;
sort)
    n=$(scaled 16) i=0
    begin
    while [ $i -lt $n ]; do
        run usr/bin/sort --parallel=1 -S 100M -k 2 "$CORPUS" > "$WORK/sorted"
        i=$((i + 1))
    done
    end
    result $(digest < "$WORK/sorted")
    ;;
awk-int)
    n=$(scaled 8000000)
    begin
    r=$(run usr/bin/mawk -v n=$n 'BEGIN { for (i = 0; i < n; i++) { s = (s * 31 + i) % 65521; if (s % 3 == 0) c++ } print s, c }')
    end
    result $r
    ;;
awk-float)
    n=$(scaled 12000000)
    begin
    r=$(run usr/bin/mawk -v n=$n 'BEGIN { x = 0.5; for (i = 1; i <= n; i++) { x = 3.7 * x * (1 - x); s += sqrt(x) / i } printf "%.9f %.9f\n", x, s }')
    end
    result $r
    ;;
awk-hash)
    n=$(scaled 12)
    set --
    while [ $# -lt $n ]; do set -- "$@" "$CORPUS"; done
    begin
    r=$(run usr/bin/mawk '{ for (i = 1; i <= NF; i++) h[$i]++ } END { for (w in h) { n++; s += h[w] } print n, s }' "$@")
    end
    result $r
    ;;
perl-int)
    n=$(scaled 8000000)
    begin
    r=$(run usr/bin/perl -e 'my ($n, $s, $c) = ($ARGV[0], 1, 0); for (my $i = 0; $i < $n; $i++) { $s = ($s * 31 + $i) & 0xffffff; $c++ if $s & 4 } print "$s $c\n"' $n)
    end
    result $r
    ;;
perl-float)
    n=$(scaled 6000000)
    begin
    r=$(run usr/bin/perl -e 'my ($x, $s) = (0.5, 0); for my $i (1 .. $ARGV[0]) { $x = 3.7 * $x * (1 - $x); $s += sqrt($x) / $i + sin($x) } printf "%.9f %.9f\n", $x, $s' $n)
    end
    result $r
    ;;
perl-hash)
    n=$(scaled 1500000)
    begin
    r=$(run usr/bin/perl -e 'my ($n, $s, %h) = ($ARGV[0], 7); for my $i (1 .. $n) { $s = ($s * 1103515245 + 12345) & 0x7fffffff; $h{"k" . $s % 50000} += $i } my $t = 0; $t = ($t * 31 + $h{$_}) % 1000003 for sort keys %h; print scalar(keys %h), " $t\n"' $n)
    end
    result $r
    ;;
perl-regex)
    n=$(scaled 4)
    set --
    while [ $# -lt $n ]; do set -- "$@" "$CORPUS"; done
    begin
    r=$(run usr/bin/perl -ne '$a++ if /\b(\w)\w*\1\b.*\bq/; $b += () = /[aeiou]{2}\w/g; s/(\w+) (\w+)/$2 $1/ and $c += length $1; END { print "$a $b $c\n" }' "$@")
    end
    result $r
    ;;
luajit)
    n=$(scaled 60000000)
    begin
    r=$(run usr/bin/luajit -e "local s, x = 1, 0.5; for i = 1, $n do s = (s * 31 + i) % 65521; x = 3.7 * x * (1 - x) end print(string.format('%d %.9f', s, x))")
    end
    result $r
    ;;
aes)
    begin
    r=$(run usr/bin/openssl speed -elapsed -seconds 1 -bytes 16384 -mr -evp aes-256-gcm 2>/dev/null | "$BUSYBOX" grep '^+F:')
    end
    echo "@rate $name ${r##*:} bytes"
    ;;
rsa)
    begin
    r=$(run usr/bin/openssl speed -elapsed -seconds 1 -mr rsa2048 2>/dev/null | "$BUSYBOX" grep '^+F2:')
    end
    r=${r#+F2:*:*:}
    echo "@rate $name ${r%%:*} signs"
    ;;
*)
    echo "@unknown $name"
    exit 2
    ;;
esac
