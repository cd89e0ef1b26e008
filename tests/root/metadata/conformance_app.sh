#!/busybox sh
# What the conformance pod's apps do. Facts go to the shared volume, where the test reads them; markers
# go to the app's own root and show in which order handlers and app ran.
set -e

marker() { # NAME: must not be there yet; is made
    [ ! -e "/$1" ] || { echo "$1 is there already"; exit 1; }
    : >"/$1"
}

wait_for() {
    i=0
    until [ -e "$1" ]; do
        i=$((i + 1))
        [ $i -lt 2000 ] || { echo "$1 does not come"; exit 1; }
        sleep 0.01
    done
}

# ask NAME METHOD PATH [BODY]: the answer, head and body, into answers/NAME. (The validator waits 100 ms; bench/metadata.py measures.)
ask() {
    url=${AC_METADATA_URL#http://}
    path=/${url#*/}$3
    address=${url%%/*}
    type="Content-Type: application/x-www-form-urlencoded"
    printf '%s %s HTTP/1.1\r\nHost: x\r\nMetadata-Flavor: AppContainer\r\nConnection: close\r\n%s\r\nContent-Length: %d\r\n\r\n%s' \
        "$2" "$path" "$type" "${#4}" "$4" |
        timeout 20 nc "${address%:*}" "${address#*:}" >"/db/answers/$1" || echo "$1" >>/db/unanswered
}

case $1 in
prestart)
    [ ! -e /main ] && [ ! -e /poststop ]
    marker prestart
    ;;
poststop)
    [ -e /prestart ] && [ -e /main ]
    marker poststop
    ;;
sidekick)
    : >/db/sidekick
    wait_for /db/main
    env >/db/sidekick.env
    ;;
main)
    [ -e /prestart ] && [ ! -e /poststop ]
    marker main
    pwd >/db/cwd
    env >/db/env
    cat /proc/self/mountinfo >/db/mountinfo
    mkdir /db/answers
    v1=/acMetadata/v1
    ask pod-manifest GET $v1/pod/manifest
    ask pod-uuid GET $v1/pod/uuid
    ask pod-annotations GET $v1/pod/annotations
    ask app-annotations GET "$v1/apps/$AC_APP_NAME/annotations"
    ask image-manifest GET "$v1/apps/$AC_APP_NAME/image/manifest"
    ask image-id GET "$v1/apps/$AC_APP_NAME/image/id"
    ask sidekick-id GET "$v1/apps/sidekick/image/id"
    ask sign POST $v1/pod/hmac/sign "content=Old MacDonald"
    signature=$(tail -n 1 /db/answers/sign | sed 's/+/%2B/g')
    uuid=$(tail -n 1 /db/answers/pod-uuid)
    ask verify POST $v1/pod/hmac/verify "content=Old+MacDonald&uuid=$uuid&signature=$signature"
    ask forged POST $v1/pod/hmac/verify "content=Old+MacDonalds&uuid=$uuid&signature=$signature"
    AC_METADATA_URL=${AC_METADATA_URL%?????}00000
    ask stranger GET $v1/pod/uuid
    wait_for /db/sidekick
    : >/db/main
    ;;
esac
echo "$1 OK"
