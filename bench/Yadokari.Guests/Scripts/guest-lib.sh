# Shared by the scripts that run both in a guest and, with ROOT naming the unpacked tree, on the host, with the very same programs.
ROOT=${ROOT:-}
LC_ALL=C
OPENSSL_CONF=/dev/null
export LC_ALL OPENSSL_CONF
umask 022

if [ -n "$ROOT" ]; then
    export PERL5LIB=$ROOT/usr/lib/x86_64-linux-gnu/perl-base
    run() {
        program=$ROOT/$1
        shift
        "$ROOT/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
            --library-path "$ROOT/lib/x86_64-linux-gnu:$ROOT/usr/lib/x86_64-linux-gnu" "$program" "$@"
    }
else
    run() {
        program=/$1
        shift
        "$program" "$@"
    }
fi

BUSYBOX=$ROOT/bin/busybox
CORPUS=$ROOT/yado/corpus.txt
WORK=${WORK:-/tmp}
