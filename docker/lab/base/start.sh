#!/bin/sh
# With exec, so that the stop signal gets there.
command -v nginx >/dev/null || exec php-fpm -F
if command -v php-fpm >/dev/null; then php-fpm -D; fi
exec nginx -g 'daemon off;'
