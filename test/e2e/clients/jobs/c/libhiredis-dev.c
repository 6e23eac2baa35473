/* hiredis: commands, a pipeline, a transaction, bytes. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static redisContext *connection;

static void fail(const char *where, const char *found) {
  fprintf(stderr, "%s: found %s\n", where, found);
  exit(1);
}

static void is_text(redisReply *reply, const char *expected) {
  if (!reply) fail(expected, connection->errstr);
  if (!reply->str || strcmp(reply->str, expected) != 0) fail(expected, reply->str ? reply->str : "no text");
  freeReplyObject(reply);
}

static void is_number(redisReply *reply, long long expected) {
  if (!reply) fail("a number", connection->errstr);
  if (reply->type != REDIS_REPLY_INTEGER || reply->integer != expected) fail("a number", reply->str ? reply->str : "another");
  freeReplyObject(reply);
}

static void is_nil(redisReply *reply) {
  if (!reply || reply->type != REDIS_REPLY_NIL) fail("nil", "something");
  freeReplyObject(reply);
}

#define ask(...) redisCommand(connection, __VA_ARGS__)

static void are_texts(redisReply *reply, size_t count, const char **expected) {
  if (!reply) fail("texts", connection->errstr);
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements != count) fail("texts", reply->str ? reply->str : "another number");
  for (size_t i = 0; i < count; i++) {
    if (strcmp(reply->element[i]->str, expected[i]) != 0) fail(expected[i], reply->element[i]->str);
  }
  freeReplyObject(reply);
}

int main(int count, char **arguments) {
  if (count != 3) fail("port and password", "others");
  const char *password = arguments[2];
  connection = redisConnect("127.0.0.1", atoi(arguments[1]));
  if (!connection || connection->err) fail("redisConnect", connection ? connection->errstr : "no memory");

  is_text(ask("AUTH %s", password), "OK");
  is_text(ask("SELECT 1"), "OK");
  is_text(ask("SET %s %s EX 100", "text", "hello world"), "OK");
  is_text(ask("GET %s", "text"), "hello world");
  is_nil(ask("SET text other NX"));
  is_nil(ask("GET nothing"));
  is_number(ask("INCRBY count %d", 5), 5);

  const char bytes[] = "\0\r\n$3\r\n\xff";
  is_text(ask("SET raw %b", bytes, sizeof bytes), "OK");
  redisReply *raw = ask("GET raw");
  if (raw->len != sizeof bytes || memcmp(raw->str, bytes, sizeof bytes) != 0) fail("bytes", "others");
  freeReplyObject(raw);

  for (int i = 0; i < 1000; i++) redisAppendCommand(connection, "INCR pipeline");
  for (int i = 1; i <= 1000; i++) {
    redisReply *reply = NULL;
    if (redisGetReply(connection, (void **)&reply) != REDIS_OK) fail("a pipeline", connection->errstr);
    is_number(reply, i);
  }

  is_text(ask("MULTI"), "OK");
  is_text(ask("SET {t}a 1"), "QUEUED");
  is_text(ask("INCR {t}a"), "QUEUED");
  redisReply *replies = ask("EXEC");
  if (replies->type != REDIS_REPLY_ARRAY || replies->elements != 2 || replies->element[1]->integer != 2) fail("EXEC", "others");
  freeReplyObject(replies);

  is_number(ask("HSET hash name %s born %d", "Ada", 1815), 2);
  are_texts(ask("HGETALL hash"), 4, (const char *[]){"name", "Ada", "born", "1815"});
  is_number(ask("SADD set a b a"), 2);
  is_number(ask("SISMEMBER set b"), 1);
  is_number(ask("SISMEMBER set c"), 0);
  is_number(ask("RPUSH list a b a"), 3);
  are_texts(ask("LRANGE list 0 -1"), 3, (const char *[]){"a", "b", "a"});

  is_text(ask("INCR text"), "ERR value is not an integer or out of range");
  is_number(ask("EVAL %s 0", "return 7"), 7);

  is_text(ask("FLUSHDB"), "OK");
  is_number(ask("DBSIZE"), 0);

  /* The connection is closed from outside, and made again. */
  redisContext *closed = connection;
  connection = redisConnect("127.0.0.1", atoi(arguments[1]));
  is_text(ask("AUTH %s", password), "OK");
  is_number(ask("CLIENT KILL TYPE normal SKIPME yes"), 1);
  if (redisCommand(closed, "PING") != NULL) fail("a closed connection", "a reply");
  if (redisReconnect(closed) != REDIS_OK) fail("redisReconnect", closed->errstr);
  redisFree(connection);
  connection = closed;
  is_text(ask("AUTH %s", password), "OK");
  is_text(ask("PING"), "PONG");
  redisFree(connection);
  puts("ok");
  return 0;
}
