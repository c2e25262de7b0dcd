#!/bin/sh
# Installs the servers and tools that the live tests and the bench use, where this machine lets us (Debian, root), and
# builds purplebot. Says in words what could not be had; never fails: tests that miss a peer skip and say which.
set -u
cd "$(dirname "$0")/.."

# command or pkg-config module : Debian package
peers="prosody:prosody ngircd:ngircd gcc:gcc pkg-config:pkg-config nft:nftables haproxy:haproxy tshark:tshark ip:iproute2
openssl:openssl purple.pc:libpurple-dev clamd:clamav-daemon"

has() {
    case "$1" in
        *.pc) pkg-config --exists "${1%.pc}" 2>/dev/null ;;
        *) PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=""
for peer in $peers; do
    has "${peer%%:*}" || missing="$missing ${peer#*:}"
done

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "Not installed (this is not root):$missing"
    elif ! command -v apt-get >/dev/null 2>&1; then
        echo "Not installed (no apt-get here):$missing"
    else
        echo "Installing from Debian:$missing"
        # Packages of servers start them; the tests start their own. policy-rc.d is how Debian is told not to.
        if [ ! -e /usr/sbin/policy-rc.d ] && [ -d /usr/sbin ]; then
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        fi
        export DEBIAN_FRONTEND=noninteractive
        log=$(mktemp)
        apt-get -q update >"$log" 2>&1 || echo "apt-get update failed: $(tail -n 1 "$log")"
        # shellcheck disable=SC2086
        apt-get -q install -y --no-install-recommends $missing >>"$log" 2>&1 || {
            echo "apt-get could not install all of them at once; trying one by one"
            for package in $missing; do
                apt-get -q install -y --no-install-recommends "$package" >>"$log" 2>&1 || true
            done
        }
        rm -f "$log"
    fi
fi

for peer in $peers; do
    has "${peer%%:*}" || echo "Missing: ${peer#*:}. The tests that need it are skipped and say so."
done

if has gcc && has purple.pc; then
    if [ ! -x build/purplebot ] || [ tests/live/purplebot.c -nt build/purplebot ]; then
        mkdir -p build
        # shellcheck disable=SC2046
        gcc -w -O1 tests/live/purplebot.c -o build/purplebot $(pkg-config --cflags --libs purple glib-2.0) ||
            echo "purplebot (a libpurple client without a screen) could not be built: its tests are skipped."
    fi
else
    echo "purplebot needs gcc and libpurple-dev: its tests are skipped."
fi
exit 0
