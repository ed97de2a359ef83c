#!/bin/sh
if command -v php-fpm >/dev/null; then php-fpm -F & php_fpm=$!; fi
if command -v nginx >/dev/null; then nginx -g 'daemon off;' & nginx=$!; fi

stop() {
    sleep 2
    for server in $nginx $php_fpm; do
        kill -QUIT "$server"
        wait "$server"
    done
    exit
}
trap stop TERM
wait
