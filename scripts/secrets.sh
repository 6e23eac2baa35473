#!/bin/sh
# Writes the tokens and the password that docker-compose.yml needs to .env, each at random and only if it is
# missing there. Needs nothing but a shell and openssl.
set -eu
cd "$(dirname "$0")/.."
umask 077 # for the owner's eyes only
touch .env
for name in DATA_TOKEN ADMIN_TOKEN REDIS_PASSWORD; do
  if grep -q "^$name=." .env; then
    echo "$name is in .env already"
  else
    secret=$(openssl rand -hex 32)
    echo "$name=$secret" >>.env
    echo "$name is written to .env"
  fi
done
