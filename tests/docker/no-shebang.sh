echo "run by ${0##*/} with $1"
