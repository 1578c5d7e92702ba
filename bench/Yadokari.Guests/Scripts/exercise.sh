# usage: sh exercise.sh [node|java|pypy]
# Does a little of everything that programs ask of a processor and a kernel, and prints only what must be the same on every machine.
. "${ROOT:-}/yado/guest-lib.sh"
cd "$WORK" || exit 1
bb() { "$BUSYBOX" "$@"; }
digest() { bb sha256sum | bb cut -c 1-32; }
perl() { run usr/bin/perl "$@"; }
luajit() { run usr/bin/luajit "$@"; }
openssl() { run usr/bin/openssl "$@"; }

processes() {
    i=0
    while [ $i -lt 60 ]; do
        bb true || echo "true failed"
        i=$((i + 1))
    done
    echo "forks $i"
    (exit 42)
    echo "subshell status $?"
    bb sh -c 'exec "$0" expr 6 "*" 7' "$BUSYBOX"
    echo "exec of nothing $(bb sh -c './no-such-program' 2>/dev/null; echo $?)"
    for n in 3 1 2; do
        (exit $n) &
        pids="$pids $!"
    done
    for pid in $pids; do
        wait "$pid"
        echo "waited $?"
    done
    perl -e 'my $t = 0; for my $i (1 .. 20) { my $p = fork // die; exit $i if !$p; waitpid $p, 0; $t += $? >> 8 } print "children $t\n"'
    perl -e 'pipe my $r, my $w; if (!fork) { close $r; syswrite $w, "from the child\n"; exit } close $w; print <$r>; wait'
}

signals() {
    bb sh -c 'trap "echo caught USR1" USR1; kill -USR1 $$; trap "echo bye" EXIT; exit 3'
    echo "status $?"
    bb sleep 100 &
    kill -TERM $!
    wait $! 2>/dev/null
    echo "terminated $?"
    { perl -e '$SIG{PIPE} = "DEFAULT"; print "y\n" while 1'; echo "broken pipe $?" > status; } | bb head -n 1
    bb cat status
    perl -e '$SIG{ALRM} = sub { print "alarm\n"; exit 5 }; alarm 1; 1 while 1'
    echo "status $?"
    perl -e 'local $SIG{CHLD} = sub { $n++ }; for (1 .. 5) { my $p = fork // die; exit 0 if !$p; waitpid $p, 0 } print "reaped ", $n > 0 ? "yes" : "no", "\n"'
    # True faults of the processor, not signals sent: a page that is not there, a page that may not be written, code that may not run.
    (luajit -e 'local ffi = require "ffi"; print(ffi.cast("int*", 16)[0])') >/dev/null 2>&1
    echo "null read $?"
    (luajit -e 'local ffi = require "ffi"; ffi.cdef "int getpid(void);" ffi.cast("char*", ffi.C.getpid)[0] = 1') >/dev/null 2>&1
    echo "write to code $?"
    (luajit -e 'local ffi = require "ffi"; ffi.cast("void (*)()", ffi.new("char[16]"))()') >/dev/null 2>&1
    echo "run data $?"
    (luajit -e 'local function f(n) return 1 + f(n + 1) end print(pcall(f, 1))') | bb cut -c 1-5
}

memory() {
    bb head -c 3000000 "$CORPUS" > mapped
    luajit - <<'LUA'
local ffi = require "ffi"
ffi.cdef [[
  void *mmap(void *, size_t, int, int, int, long); int munmap(void *, size_t); int mprotect(void *, size_t, int); int msync(void *, size_t, int);
  int open(const char *, int, ...); int close(int); int fork(void); int waitpid(int, int *, int); void _exit(int);
]]
local C = ffi.C
local function sum(p, n) local s = 0; for i = 0, n - 1 do s = (s * 31 + p[i]) % 1000003 end return s end
local fd = C.open("mapped", 2)
local size = 3000000
local file = ffi.cast("uint8_t *", C.mmap(nil, size, 3, 1, fd, 0))
print("file", sum(file, size))
for i = 0, size - 1, 4096 do file[i] = 42 end
C.msync(file, size, 4)
local private = ffi.cast("uint8_t *", C.mmap(nil, size, 3, 2, fd, 0))
for i = 0, size - 1, 8192 do private[i] = 7 end
print("private", sum(private, size), "shared", sum(file, size))
local big = 64 * 1048576
local memory = ffi.cast("uint32_t *", C.mmap(nil, big, 3, 0x22, -1, 0))
for i = 0, big / 4 - 1, 512 do memory[i] = i end
local t = 0
for i = 0, big / 4 - 1, 512 do t = (t + memory[i]) % 1000003 end
print("anonymous", t)
local status = ffi.new("int[1]")
local child = C.fork()
if child == 0 then
  for i = 0, big / 4 - 1, 1024 do memory[i] = 1 end
  C._exit(memory[1024] + 10)
end
C.waitpid(child, status, 0)
print("copy on write", bit.rshift(status[0], 8), memory[1024])
-- Code written, run, rewritten and run again: mov eax, imm32; ret.
local code = ffi.cast("uint8_t *", C.mmap(nil, 4096, 7, 0x22, -1, 0))
local f = ffi.cast("int (*)(void)", code)
local total = 0
for n = 1, 300 do
  code[0] = 0xB8; ffi.cast("int32_t *", code + 1)[0] = n * 1001; code[5] = 0xC3
  total = total + f()
end
print("rewritten code", total)
C.mprotect(code, 4096, 5)
print("read and execute", f())
C.munmap(memory, big)
LUA
    digest < mapped
}

pipes() {
    bb cat "$CORPUS" | bb tr a-z n-za-m | bb cat | bb tr a-z n-za-m | digest
    bb mkfifo fifo
    bb head -c 500000 "$CORPUS" > fifo &
    digest < fifo
    wait
    bb dd if=/dev/zero bs=1 count=20000 2>/dev/null | bb wc -c
    perl -MSocket -e 'socketpair my $a, my $b, AF_UNIX, SOCK_STREAM, 0; if (!fork) { close $a; my $n = 0; while (<$b>) { $n += $_ } syswrite $b, "sum $n\n"; exit } close $b; syswrite $a, "$_\n" for 1 .. 2000; shutdown $a, 1; print <$a>; wait'
}

floats() {
    run usr/bin/mawk 'BEGIN { for (i = 1; i < 12; i++) printf "%.13g %.13g %.13g %.13g\n", sin(i), exp(i / 3), atan2(i, 3), log(i) * sqrt(i) }'
    # The last digits of the mathematical library depend on whether the processor has fused multiplication; those of IEEE 754 operations do not.
    perl -e 'printf "%.13g %.13g %.17g %.17g\n", $_ ** 0.37, cos($_ * 1e5), $_ / 7e-300, sqrt($_ / 3) * 1.7 for 1 .. 8; print 9**9**9, " ", -sin(9**9**9), " ", 1e-320 * 3, " ", int(-7.5), " ", 2**53 + 1, "\n"'
    # bash's printf works in long double, which is x87's.
    run bin/bash -c 'for x in 1.1 3.3333333333333333333 1e-4900 2.718281828459045235360287 123456789.987654321e300; do printf "%.21g %.12La\n" $x $x; done'
    luajit -e 'local s = 0; for i = 1, 3e6 do s = s + math.sin(i) * (i % 7) / (i + 0.5) end print(string.format("%.11g", s))'
    luajit -e 'local ffi = require "ffi"; local f = ffi.new("float[4]", 1.5, 2.25, 1e30, 1e-40); local i = ffi.new("int64_t[1]"); for k = 0, 3 do f[k] = f[k] * f[k] / 3 end; i[0] = -12345678901234567LL; print(f[0], f[1], f[2], f[3], i[0] / 77, i[0] % 1009, 0xFFFFFFFFFFFFFFFFULL / 3)'
}

perls() {
    perl -e 'my %h; $h{$_ % 997} .= chr(65 + $_ % 26) for 1 .. 60000; my $t = join ",", map { "$_$h{$_}" } sort { $a <=> $b } keys %h; print length $t, " ", unpack("%32C*", $t), "\n"'
    perl -ne '$w{lc $_}++ for /\b[a-z]{3,}\b/g; END { print join(" ", map { "$_=$w{$_}" } (sort { $w{$b} <=> $w{$a} || $a cmp $b } keys %w)[0 .. 7]), "\n" }' "$CORPUS"
    perl -e 'print join(" ", unpack("w*", pack("w*", 1, 300, 70000, 5e9))), " ", unpack("H*", pack("d>n!v!q<", 3.14159, -2, 513, -7)), "\n"'
    perl -e 'my @p = (2); N: for (my $n = 3; @p < 3000; $n += 2) { for (@p) { last if $_ * $_ > $n; next N if $n % $_ == 0 } push @p, $n } print "$p[-1]\n"'
    perl -e '$_ = "x" x 30; print /^(x+x+)+y/ ? "yes" : "no", " "; my $r = eval { die { code => 7 } } || $@->{code}; print "$r\n"'
}

packers() {
    for level in 1 6 9; do
        run bin/gzip -$level -n < "$CORPUS" > packed.gz
        echo "gzip -$level $(digest < packed.gz) $(run bin/gzip -d < packed.gz | digest)"
    done
    bb head -c 1500000 "$CORPUS" > part
    run usr/bin/xz -3 -T1 < part > packed.xz
    echo "xz $(digest < packed.xz) $(run usr/bin/xz -d < packed.xz | digest)"
    bb bzip2 < part > packed.bz2
    echo "bzip2 $(digest < packed.bz2) $(bb bunzip2 < packed.bz2 | digest)"
    run usr/bin/sha256sum < "$CORPUS"
    run usr/bin/md5sum < "$CORPUS"
    bb md5sum < "$CORPUS"
}

threads() {
    run usr/bin/xz -1 -T3 --block-size=300000 < part > threaded.xz
    echo "xz of 3 threads $(digest < threaded.xz) $(run usr/bin/xz -d -T3 < threaded.xz | digest)"
    run usr/bin/sort --parallel=4 -S 8M -k 3 "$CORPUS" | digest
}

crypto() {
    key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f iv=f0e0d0c0b0a090807060504030201000
    for cipher in aes-256-cbc aes-256-ctr aes-256-ofb camellia-256-cbc chacha20; do
        openssl enc -$cipher -K $key -iv $iv -in "$CORPUS" -out sealed
        echo "$cipher $(digest < sealed) $(openssl enc -d -$cipher -K $key -iv $iv -in sealed | digest)"
    done
    for hash in md5 sha1 sha256 sha512 sha3-256 blake2b512 sm3; do
        echo "$hash $(openssl dgst -$hash -r "$CORPUS" | bb cut -d " " -f 1)"
    done
    openssl mac -macopt hexkey:$key -macopt iv:$iv -macopt cipher:AES-256-GCM -in "$CORPUS" GMAC
    openssl mac -macopt hexkey:$key -in "$CORPUS" Poly1305
    openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:shell -kdfopt salt:crab -kdfopt iter:2000 PBKDF2
    openssl kdf -keylen 32 -kdfopt pass:shell -kdfopt salt:crab -kdfopt n:1024 -kdfopt r:8 -kdfopt p:2 SCRYPT
    for kind in "RSA -pkeyopt rsa_keygen_bits:2048" "EC -pkeyopt ec_paramgen_curve:P-256" "EC -pkeyopt ec_paramgen_curve:secp384r1"; do
        openssl genpkey -algorithm $kind -out key.pem 2>/dev/null
        openssl pkey -in key.pem -pubout -out public.pem
        openssl dgst -sha256 -sign key.pem -out signature "$CORPUS"
        echo "$kind: $(openssl dgst -sha256 -verify public.pem -signature signature "$CORPUS" 2>&1)"
    done
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2>/dev/null
    openssl req -x509 -key key.pem -subj /CN=guest -days 2 -out cert.pem 2>/dev/null
    for suite in TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
        bb rm -f tls
        openssl s_server -quiet -unix tls -naccept 1 -cert cert.pem -key key.pem -rev -ciphersuites $suite >/dev/null 2>&1 &
        while [ ! -S tls ]; do bb usleep 20000; done
        echo "$suite $( (echo hermit; bb sleep 2) | openssl s_client -unix tls -quiet -no_ign_eof -tls1_3 -ciphersuites $suite 2>/dev/null)"
        kill $! 2>/dev/null
        wait $! 2>/dev/null
    done
}

jit() {
    luajit -e 'local s = 1; for i = 1, 2e7 do s = (s * 31 + i) % 65521 end print(s, (jit.status()))'
    luajit -e 'local t = {}; for i = 1, 4e5 do t[#t + 1] = (i * 7919) % 400009 end table.sort(t); local b = {}; for i = 1, #t, 4000 do b[#b + 1] = t[i] end print(#t, table.concat(b, " "):sub(-60))'
    luajit -e 'local band, bxor, rol = bit.band, bit.bxor, bit.rol; local h = 5381; for i = 1, 5e6 do h = bxor(rol(h, 5), band(i, 255)) end print(h); local s = ""; for i = 1, 2000 do s = s .. string.char(97 + i % 26) end print(s:reverse():upper():rep(3):find("CBA", 100, true), select(2, s:gsub("[aeiou]", "")))'
}

files() {
    bb mkdir -p d/e/f
    for n in 1 2 3 4 5; do echo "file $n" > d/e/f/$n; done
    bb ln -s e/f/3 d/link
    bb ln d/e/f/1 d/hard
    bb mv d/e/f/2 d/e/two
    bb chmod 640 d/e/two
    bb find d | bb sort | bb tr '\n' ' '
    echo
    bb stat -c '%a %h %F' d/hard d/e/two d/link
    bb tar -c d | bb tar -t | bb sort | bb md5sum
    bb cat d/link
    bb od -A d -t x2 d/e/f/5
}

node() {
    run usr/bin/node - <<'JS'
const crypto = require("crypto"), zlib = require("zlib"), { Worker } = require("worker_threads"), fs = require("fs"), path = require("path");
const corpus = fs.readFileSync(path.join(process.env.ROOT || "/", "yado/corpus.txt"));
const hash = data => crypto.createHash("sha256").update(data).digest("hex").slice(0, 32);
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
console.log("fib", fib(27));
let x = 0.5, s = 0;
for (let i = 1; i < 3e6; i++) { x = 3.7 * x * (1 - x); s += Math.sqrt(x) / i + Math.sin(i) }
console.log("floats", s.toFixed(10), Math.hypot(3, 4, 5), Math.fround(1 / 3), 2 ** -1074);
console.log("bigint", String(7n ** 700n % (2n ** 127n - 1n)));
const words = new Map();
for (const word of corpus.toString("latin1").split(/\s+/)) words.set(word, (words.get(word) || 0) + 1);
console.log("words", words.size, [...words].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 5).join(" "));
console.log("regex", corpus.toString("latin1").match(/\b(\w)\w*\1\b/g).length);
const list = Int32Array.from({ length: 300000 }, (_, i) => Math.imul(i, 2654435761) | 0).sort();
console.log("sorted", list[0], list[150000], list[299999]);
console.log("json", hash(JSON.stringify(JSON.parse(JSON.stringify([...words])))));
const cipher = crypto.createCipheriv("aes-256-gcm", Buffer.alloc(32, 7), Buffer.alloc(12, 9));
const sealed = Buffer.concat([cipher.update(corpus), cipher.final()]);
console.log("gcm", hash(sealed), cipher.getAuthTag().toString("hex"));
console.log("zlib", hash(zlib.inflateSync(zlib.deflateSync(corpus))), hash(zlib.brotliCompressSync(corpus.subarray(0, 200000))));
// (module (func (export "f") (param i32) (result i32) ...)): the sum of squares below n, in WebAssembly.
const wasm = new WebAssembly.Module(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 40, 1, 38, 1, 2, 127,
  3, 64, 32, 2, 32, 1, 32, 1, 108, 106, 33, 2, 32, 1, 65, 1, 106, 34, 1, 32, 0, 72, 13, 0, 11, 32, 2, 65, 255, 255, 255, 255, 7, 113, 11]));
console.log("wasm", new WebAssembly.Instance(wasm).exports.f(1000000));
const shared = new SharedArrayBuffer(8), cell = new Int32Array(shared);
const source = `const { workerData } = require("worker_threads"); const c = new Int32Array(workerData);
  for (let i = 0; i < 100000; i++) Atomics.add(c, 0, 1);`;
let left = 3;
for (let i = 0; i < 3; i++) new Worker(source, { eval: true, workerData: shared }).on("exit", () => { if (--left === 0) console.log("workers", cell[0]) });
JS
}

java() {
    # Once with all compilers and the collector's threads, once with the quick compiler alone.
    run usr/lib/jvm/java-17-openjdk-amd64/bin/java "${ROOT:-}/yado/Compiled.java"
    run usr/lib/jvm/java-17-openjdk-amd64/bin/java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "${ROOT:-}/yado/Compiled.java"
}

pypy() {
    run usr/bin/pypy3 "${ROOT:-}/yado/compiled.py"
}

section() {
    echo "exercise: $1 begins"
    "$1" 2>&1
    echo "exercise: $1 ends"
}

if [ $# -eq 0 ]; then
    set -- processes signals memory pipes floats perls packers threads crypto jit files
fi
for name in "$@"; do
    section "$name"
done
echo "exercise: done"
