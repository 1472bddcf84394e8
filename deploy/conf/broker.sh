#!/bin/sh
# Starts a broker with the cookie that its cluster shares (a file that its owner alone may read) and the user's password.
set -eu
install -m 600 /run/secrets/ingestd/cookie "$HOME/.erlang.cookie"
RABBITMQ_DEFAULT_PASS=$(cat /run/secrets/ingestd/password)
export RABBITMQ_DEFAULT_PASS
exec rabbitmq-server
