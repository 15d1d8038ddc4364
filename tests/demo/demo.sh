#!/bin/sh
# One trace of four hops in four languages, with no header, no SDK and no change of code. As root, after `cargo xtask build`; needs
# curl, node, python3, go and java (17 or later).
set -eu
here=$(dirname "$(readlink -f "$0")")
agent=${WIRESPAN_BIN:-$here/../../target/release/wirespan}
work=$(mktemp -d)
running=
finish() {
    for process in $running; do kill "$process" 2>"$work/gone" || :; done
    wait
    rm -rf "$work"
}
trap finish EXIT

until_listening() {
    for port in "$@"; do
        tries=0
        until curl --silent --output "$work/warm" "http://127.0.0.1:$port/"; do
            tries=$((tries + 1))
            [ "$tries" -lt 300 ] || { echo "nobody listens at port $port" >&2; exit 1; }
            sleep 0.1
        done
    done
}

(cd "$work" && cp "$here/third.go" . && go build -o third third.go)
java "$here/Fourth.java" 20384 & running="$running $!"
"$work/third" 20383 20384 & running="$running $!"
python3 "$here/second.py" 20382 20383 & running="$running $!"
node "$here/front.js" 20381 20382 & running="$running $!"
until_listening 20384 20383 20382 20381

"$agent" run --connections off --only port:20381 --only port:20382 --only port:20383 --only port:20384 \
    >"$work/trace" 2>"$work/said" & tracing=$!
running="$running $tracing"
tries=0
until grep -q '^ready' "$work/said"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$work/said" >&2; exit 1; }
    sleep 0.1
done
curl --silent --output "$work/answer" http://127.0.0.1:20381/order/17
# It prints a trace when nothing more comes of it.
kill -INT "$tracing"
wait "$tracing" || :
cat "$work/trace"
