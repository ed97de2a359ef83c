#!/bin/sh
stop() {
    for service in /lab/services/*; do
        sv -w 9 force-stop "$service"
    done
    kill -HUP "$runsvdir"
    wait "$runsvdir"
    exit
}
trap stop TERM HUP QUIT INT
runsvdir -P /lab/services &
runsvdir=$!
wait "$runsvdir"
