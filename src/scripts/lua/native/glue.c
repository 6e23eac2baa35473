/*
 * Between Lua and TypeScript: everything that a Redis 7.0 script finds beside Lua's own libraries.
 *
 * Two interpreters share one memory: `scripts` for EVAL, `functions` for FCALL, whose globals differ as they do in
 * Redis. Values cross the border as bytes (see engine.ts, "wire"): the host writes into `input` and `reply`, this side
 * into `command` and `output`. What Lua allocates and these four are counted together, and stay below `limit`.
 *
 * Lua is entered through `lua_pcall` at the bottom of the stack, as in Redis, so recursion ends after as many levels.
 * Whatever allocates around that call runs in `lua_cpcall`: without memory it is an error of this script.
 *
 * The behaviour of redis.* and of the conversions follows Redis 7.0's script_lua.c, eval.c and function_lua.c
 * (BSD-3-Clause, see LICENSES.md).
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lauxlib.h"
#include "lstate.h"
#include "lua.h"
#include "lualib.h"

/* Includes lua_cjson.c, for the layout of its settings. */
#include "lua_cjson.c"

int luaopen_struct(lua_State *L);
int luaopen_cmsgpack(lua_State *L);
int luaopen_bit(lua_State *L);

#define IMPORT(name) __attribute__((import_module("rondo"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

/* Runs a command, writes its reply by reply_room(), returns the reply's length, or -1 without memory. */
IMPORT("call") int host_call(int resp, const char *command, int length, int count);
/* 1 = may be run by this user, 0 = not, -1 = no such command. */
IMPORT("may_run") int host_may_run(const char *command, int length, int count);
IMPORT("log") void host_log(int level, const char *text, int length);
IMPORT("sha1") void host_sha1(const char *text, int length, char *hex);
IMPORT("tick") void host_tick(void);

/* ---- Memory ---- */

static size_t used = 0;
static size_t limit = 0;

static void *allocate(void *ud, void *block, size_t old, size_t size) {
  (void)ud;
  if (size == 0) {
    free(block);
    used -= old;
    return NULL;
  }
  if (size > old && (size - old > limit || used > limit - (size - old))) return NULL;
  void *moved = realloc(block, size);
  if (moved != NULL) used += size - old;
  return moved;
}

typedef struct {
  char *at;
  size_t length;
  size_t size;
} Bytes;

static Bytes input, reply, command, output;
/* A buffer that has grown beyond is given back after the run. */
#define KEPT_BYTES 65536

static int grow(Bytes *bytes, size_t more) {
  if (more <= bytes->size - bytes->length) return 1;
  size_t wanted = bytes->length + more;
  if (wanted < more) return 0;
  size_t size = wanted < 1024 ? 1024 : wanted + wanted / 2;
  char *moved = allocate(NULL, bytes->at, bytes->size, size);
  if (moved == NULL) moved = allocate(NULL, bytes->at, bytes->size, size = wanted);
  if (moved == NULL) return 0;
  bytes->at = moved;
  bytes->size = size;
  return 1;
}

static void shrink(Bytes *bytes) {
  bytes->length = 0;
  if (bytes->size <= KEPT_BYTES) return;
  allocate(NULL, bytes->at, bytes->size, 0);
  bytes->at = NULL;
  bytes->size = 0;
}

static char *room(Bytes *bytes, size_t length) {
  bytes->length = 0;
  if (!grow(bytes, length == 0 ? 1 : length)) return NULL;
  bytes->length = length;
  return bytes->at;
}

EXPORT("input_room") char *input_room(int length) { return room(&input, length); }
EXPORT("reply_room") char *reply_room(int length) { return room(&reply, length); }
EXPORT("output_at") char *output_at(void) { return output.at; }
EXPORT("output_length") int output_length(void) { return output.length; }
EXPORT("used_bytes") int used_bytes(void) { return used; }

/* ---- Bytes out: into `output` or `command`; without memory an error of Lua. ---- */

static void put(lua_State *L, Bytes *bytes, const void *from, size_t length) {
  if (!grow(bytes, length)) luaL_error(L, "not enough memory");
  memcpy(bytes->at + bytes->length, from, length);
  bytes->length += length;
}

static void put_tag(lua_State *L, char tag) { put(L, &output, &tag, 1); }

static void put_u32(lua_State *L, Bytes *bytes, uint32_t value) { put(L, bytes, &value, 4); }

static void put_text(lua_State *L, Bytes *bytes, const char *text, size_t length) {
  put_u32(L, bytes, length);
  put(L, bytes, text, length);
}

static void put_tagged(lua_State *L, char tag, const char *text, size_t length) {
  put_tag(L, tag);
  put_text(L, &output, text, length);
}

/* ---- Numbers as text ---- */

static int is_small_integer(double number) {
  return number >= -99999999999999.0 && number <= 99999999999999.0 && number == (double)(int64_t)number &&
         !(number == 0 && signbit(number));
}

static int integer_text(char *text, int64_t value) {
  char digits[24];
  int count = 0, length = 0;
  uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
  do {
    digits[count++] = '0' + rest % 10;
    rest /= 10;
  } while (rest != 0);
  if (value < 0) text[length++] = '-';
  while (count > 0) text[length++] = digits[--count];
  text[length] = '\0';
  return length;
}

/* Lua's lua_number2str: "%.14g", without printf for the usual numbers. */
int rondo_number2str(char *text, double number) {
  if (is_small_integer(number)) return integer_text(text, (int64_t)number);
  return sprintf(text, "%.14g", number);
}

static int argument_text(char *text, size_t size, double number) {
  if (is_small_integer(number)) return integer_text(text, (int64_t)number);
  return snprintf(text, size, "%.17g", number);
}

/* As x86-64 converts: a negative number becomes its two's complement. */
unsigned long long rondo_number2unsigned(double number) {
  return number >= 9223372036854775808.0 ? (unsigned long long)number : (unsigned long long)(long long)number;
}

/* Sizes of 64 bits, of which none above 32 bits exists here. */
unsigned int rondo_number2size(double number) {
  unsigned long long size = rondo_number2unsigned(number);
  return size > UINT32_MAX ? UINT32_MAX : size;
}

/* string.rep: the same as Lua's, but without memory it says so at once, not after gigabytes of single bytes. */
int rondo_rep(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  int count = luaL_checkint(L, 2);
  uint64_t total = count > 0 ? (uint64_t)length * count : 0;
  if (total == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  char *whole = lua_newuserdata(L, total > limit ? limit : total);
  if (length == 1)
    memset(whole, text[0], total);
  else
    for (int i = 0; i < count; i++) memcpy(whole + (size_t)i * length, text, length);
  lua_pushlstring(L, whole, total);
  return 1;
}

/* ---- Randomness: the generator of Redis (POSIX's lrand48) ---- */

static uint64_t random_state = 0x1234ABCD330EULL;

EXPORT("seed") void seed(int value) { random_state = ((uint64_t)(uint32_t)value << 16) | 0x330E; }

static int32_t next_random(void) {
  random_state = (random_state * 0x5DEECE66DULL + 0xB) & 0xFFFFFFFFFFFFULL;
  return (int32_t)(random_state >> 17);
}

/* ---- The run at hand ---- */

static int is_running = 0;
static int is_loading = 0;
static int script_resp = 2;
/* While a library loads: stack index of the table of callbacks by name, in the registry under this key. */
static const char CALLBACKS_KEY = 'c';

static void need_run(lua_State *L, const char *name);

/* ---- Errors as tables ---- */

/* A table {err=}: "-CODE text" gives "CODE text", anything else "ERR text". */
static void push_error(lua_State *L, const char *text) {
  const char *code = "ERR", *message = text;
  size_t code_length = 3;
  if (text[0] == '-') {
    const char *space = strchr(text, ' ');
    if (space == NULL) {
      message = text + 1;
    } else {
      code = text + 1;
      code_length = space - code;
      message = space + 1;
    }
  }
  size_t length = strlen(message);
  while (length > 0 && (message[0] == '\r' || message[0] == '\n')) message++, length--;
  while (length > 0 && (message[length - 1] == '\r' || message[length - 1] == '\n')) length--;
  lua_newtable(L);
  lua_pushlstring(L, code, code_length);
  lua_pushliteral(L, " ");
  lua_pushlstring(L, message, length);
  lua_concat(L, 3);
  lua_setfield(L, -2, "err");
}

static int raise(lua_State *L, const char *text) {
  push_error(L, text);
  return lua_error(L);
}

static void need_run(lua_State *L, const char *name) {
  if (is_running) return;
  lua_pushfstring(L, "%s can only be called inside a script invocation", name);
  raise(L, lua_tostring(L, -1));
}

/* ---- From the host's reply to Lua ---- */

typedef struct {
  const char *at;
} Reader;

static uint32_t read_u32(Reader *reader) {
  uint32_t value;
  memcpy(&value, reader->at, 4);
  reader->at += 4;
  return value;
}

static double read_double(Reader *reader) {
  double value;
  memcpy(&value, reader->at, 8);
  reader->at += 8;
  return value;
}

static void push_text(lua_State *L, Reader *reader) {
  uint32_t length = read_u32(reader);
  lua_pushlstring(L, reader->at, length);
  reader->at += length;
}

static void push_reply(lua_State *L, Reader *reader);

/* Sets field `name` of the table that is to come to the value on the top. */
static void wrap(lua_State *L, const char *name) {
  lua_createtable(L, 0, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
}

static void push_error_reply(lua_State *L, Reader *reader) {
  lua_pushliteral(L, "-");
  push_text(L, reader);
  lua_concat(L, 2);
  push_error(L, lua_tostring(L, -1));
  lua_remove(L, -2);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "ignore_error_stats_update");
}

static void push_array(lua_State *L, Reader *reader) {
  uint32_t count = read_u32(reader);
  lua_createtable(L, count, 0);
  for (uint32_t i = 1; i <= count; i++) {
    push_reply(L, reader);
    lua_rawseti(L, -2, i);
  }
}

static void push_map(lua_State *L, Reader *reader) {
  uint32_t count = read_u32(reader);
  lua_newtable(L);
  for (uint32_t i = 0; i < count; i++) {
    push_reply(L, reader);
    push_reply(L, reader);
    lua_settable(L, -3);
  }
  wrap(L, "map");
}

static void push_set(lua_State *L, Reader *reader) {
  uint32_t count = read_u32(reader);
  lua_newtable(L);
  for (uint32_t i = 0; i < count; i++) {
    push_reply(L, reader);
    lua_pushboolean(L, 1);
    lua_settable(L, -3);
  }
  wrap(L, "set");
}

static void push_verbatim(lua_State *L, Reader *reader) {
  lua_newtable(L);
  lua_pushlstring(L, reader->at, 3);
  reader->at += 3;
  lua_setfield(L, -2, "format");
  push_text(L, reader);
  lua_setfield(L, -2, "string");
  wrap(L, "verbatim_string");
}

static void push_reply(lua_State *L, Reader *reader) {
  luaL_checkstack(L, 6, "reply nested too deeply");
  switch (*reader->at++) {
    case 'n': script_resp == 2 ? lua_pushboolean(L, 0) : lua_pushnil(L); break;
    case 't': lua_pushboolean(L, 1); break;
    case 'f': lua_pushboolean(L, 0); break;
    case 'i': lua_pushnumber(L, read_double(reader)); break;
    case '$': push_text(L, reader); break;
    case '+': push_text(L, reader); wrap(L, "ok"); break;
    case '-': push_error_reply(L, reader); break;
    case '*': push_array(L, reader); break;
    case '%': push_map(L, reader); break;
    case '~': push_set(L, reader); break;
    case ',': lua_pushnumber(L, read_double(reader)); wrap(L, "double"); break;
    case '(': push_text(L, reader); wrap(L, "big_number"); break;
    case '=': push_verbatim(L, reader); break;
    default: __builtin_trap();
  }
}

/* ---- From Lua to the reply ---- */

static void put_integer(lua_State *L, double number) {
  int64_t value = (long long)number;
  put_tag(L, 'i');
  put(L, &output, &value, 8);
}

static void put_double(lua_State *L, double number) {
  char text[40];
  int length = isinf(number) ? snprintf(text, sizeof text, number > 0 ? "inf" : "-inf")
                             : snprintf(text, sizeof text, "%.17g", number);
  put_tag(L, ',');
  put(L, &output, &number, 8);
  put_text(L, &output, text, length);
}

/* Text on one line; Redis reads these as C strings, so they end at a zero byte. */
static void put_line(lua_State *L, char tag, const char *text, size_t length) {
  put_tagged(L, tag, text, length);
  for (char *at = output.at + output.length - length; at < output.at + output.length; at++)
    if (*at == '\r' || *at == '\n') *at = ' ';
}

/* Pushes the raw field `name` of the table on the top if it has this type. */
static int has_field(lua_State *L, const char *name, int type) {
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  if (lua_type(L, -1) == type) return 1;
  lua_pop(L, 1);
  return 0;
}

static void put_value(lua_State *L);

static void put_error(lua_State *L) {
  /* With metamethods, as Redis reads it the second time. */
  lua_getfield(L, -1, "err");
  const char *text = lua_tostring(L, -1);
  if (text == NULL) text = "";
  size_t length = strlen(text);
  while (length > 0 && (text[length - 1] == '\r' || text[length - 1] == '\n')) length--;
  put_line(L, '-', text, length);
  lua_pop(L, 1);
}

static int put_verbatim(lua_State *L) {
  if (!has_field(L, "format", LUA_TSTRING)) return 0;
  const char *format = lua_tostring(L, -1);
  lua_pushliteral(L, "string");
  lua_rawget(L, -3);
  if (lua_type(L, -1) != LUA_TSTRING) {
    lua_pop(L, 2);
    return 0;
  }
  char padded[3] = {' ', ' ', ' '};
  for (int i = 0; i < 3 && format[i] != '\0'; i++) padded[i] = format[i];
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);
  put_tag(L, '=');
  put(L, &output, padded, 3);
  put_text(L, &output, text, length);
  lua_pop(L, 2);
  return 1;
}

/* Counts are written when they are known. */
static size_t begin_count(lua_State *L, char tag) {
  put_tag(L, tag);
  put_u32(L, &output, 0);
  return output.length - 4;
}

static void end_count(size_t place, uint32_t count) { memcpy(output.at + place, &count, 4); }

static void put_pairs(lua_State *L, int with_values) {
  size_t place = begin_count(L, with_values ? '%' : '~');
  uint32_t count = 0;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (!with_values) lua_pop(L, 1);
    lua_pushvalue(L, with_values ? -2 : -1);
    put_value(L);
    if (with_values) put_value(L);
    count++;
  }
  end_count(place, count);
}

static void put_array(lua_State *L) {
  size_t place = begin_count(L, '*');
  uint32_t count = 0;
  for (;; count++) {
    lua_rawgeti(L, -1, count + 1);
    if (lua_isnil(L, -1)) break;
    put_value(L);
  }
  lua_pop(L, 1);
  end_count(place, count);
}

static void put_table(lua_State *L) {
  size_t length;
  const char *text;
  if (has_field(L, "err", LUA_TSTRING)) {
    lua_pop(L, 1);
    put_error(L);
    return;
  }
  if (has_field(L, "ok", LUA_TSTRING)) {
    text = lua_tostring(L, -1);
    put_line(L, '+', text, strlen(text));
  } else if (has_field(L, "double", LUA_TNUMBER)) {
    put_double(L, lua_tonumber(L, -1));
  } else if (has_field(L, "big_number", LUA_TSTRING)) {
    text = lua_tolstring(L, -1, &length);
    put_line(L, '(', text, length);
  } else {
    if (has_field(L, "verbatim_string", LUA_TTABLE)) {
      int is_put = put_verbatim(L);
      lua_pop(L, 1);
      if (is_put) return;
    }
    if (has_field(L, "map", LUA_TTABLE)) {
      put_pairs(L, 1);
    } else if (has_field(L, "set", LUA_TTABLE)) {
      put_pairs(L, 0);
    } else {
      put_array(L);
      return;
    }
  }
  lua_pop(L, 1);
}

/* Redis goes on to the end of Lua's stack, about 8000 levels, which no client reads. */
#define MAX_DEPTH 1000
static int depth = 0;

/* Writes the value on the top and pops it. */
static void put_value(lua_State *L) {
  if (depth == MAX_DEPTH || !lua_checkstack(L, 4)) {
    static const char text[] = "ERR reached lua stack limit";
    put_tagged(L, '-', text, sizeof text - 1);
    lua_pop(L, 1);
    return;
  }
  size_t length;
  const char *text;
  switch (lua_type(L, -1)) {
    case LUA_TSTRING:
      text = lua_tolstring(L, -1, &length);
      put_tagged(L, '$', text, length);
      break;
    case LUA_TBOOLEAN:
      if (script_resp == 3)
        put_tag(L, lua_toboolean(L, -1) ? 't' : 'f');
      else if (lua_toboolean(L, -1))
        put_integer(L, 1);
      else
        put_tag(L, 'n');
      break;
    case LUA_TNUMBER: put_integer(L, lua_tonumber(L, -1)); break;
    case LUA_TTABLE:
      depth++;
      put_table(L);
      depth--;
      break;
    default: put_tag(L, 'n');
  }
  lua_pop(L, 1);
}

/* ---- redis.* ---- */

/* Packs the arguments into `command` and pops them; 0 = an error table is on the top instead. */
static int pack_command(lua_State *L, int *count) {
  int argc = lua_gettop(L), i;
  command.length = 0;
  if (argc == 0) {
    push_error(L, "Please specify at least one argument for this redis lib call");
    return 0;
  }
  for (i = 1; i <= argc; i++) {
    char digits[64];
    size_t length;
    const char *text = digits;
    if (lua_type(L, i) == LUA_TNUMBER)
      length = argument_text(digits, sizeof digits, lua_tonumber(L, i));
    else if (lua_type(L, i) == LUA_TSTRING)
      text = lua_tolstring(L, i, &length);
    else
      break;
    put_text(L, &command, text, length);
  }
  lua_settop(L, 0);
  *count = argc;
  if (i > argc) return 1;
  push_error(L, "Lua redis lib command arguments must be strings or integers");
  return 0;
}

static int call_command(lua_State *L, int raises) {
  int count;
  if (!is_running) return raise(L, "redis.call/pcall can only be called inside a script invocation");
  if (!pack_command(L, &count)) return raises ? lua_error(L) : 1;
  int length = host_call(script_resp, command.at, command.length, count);
  if (length < 0) return luaL_error(L, "not enough memory");
  Reader reader = {reply.at};
  int is_error = reply.at[0] == '-';
  push_reply(L, &reader);
  return raises && is_error ? lua_error(L) : 1;
}

static int redis_call(lua_State *L) { return call_command(L, 1); }
static int redis_pcall(lua_State *L) { return call_command(L, 0); }

static int redis_acl_check_cmd(lua_State *L) {
  int count;
  need_run(L, "redis.acl_check_cmd");
  if (!pack_command(L, &count)) return lua_error(L);
  int answer = host_may_run(command.at, command.length, count);
  if (answer < 0) return raise(L, "Invalid command passed to redis.acl_check_cmd()");
  lua_pushboolean(L, answer);
  return 1;
}

static int redis_sha1hex(lua_State *L) {
  char hex[40];
  size_t length = 0;
  if (lua_gettop(L) != 1) return raise(L, "wrong number of arguments");
  const char *text = lua_tolstring(L, 1, &length);
  host_sha1(text, text == NULL ? 0 : length, hex);
  lua_pushlstring(L, hex, sizeof hex);
  return 1;
}

static int takes_one_string(lua_State *L) {
  if (lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TSTRING) return 1;
  push_error(L, "wrong number or type of arguments");
  return 0;
}

static int redis_error_reply(lua_State *L) {
  if (!takes_one_string(L)) return 1;
  const char *text = lua_tostring(L, 1);
  if (text[0] != '-') {
    lua_pushfstring(L, "-%s", text);
    text = lua_tostring(L, -1);
  }
  push_error(L, text);
  return 1;
}

static int redis_status_reply(lua_State *L) {
  if (takes_one_string(L)) wrap(L, "ok");
  return 1;
}

static int redis_set_repl(lua_State *L) {
  need_run(L, "redis.set_repl");
  if (lua_gettop(L) != 1) return raise(L, "redis.set_repl() requires two arguments.");
  if (((int)lua_tonumber(L, -1) & ~3) != 0)
    return raise(L, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
  return 0;
}

static int redis_setresp(lua_State *L) {
  need_run(L, "redis.setresp");
  if (lua_gettop(L) != 1) return raise(L, "redis.setresp() requires one argument.");
  int resp = lua_tonumber(L, 1);
  if (resp != 2 && resp != 3) return raise(L, "RESP version must be 2 or 3.");
  script_resp = resp;
  return 0;
}

static int redis_log(lua_State *L) {
  int argc = lua_gettop(L);
  if (argc < 2) return raise(L, "redis.log() requires two arguments or more.");
  if (!lua_isnumber(L, 1)) return raise(L, "First argument must be a number (log level).");
  int level = lua_tonumber(L, 1);
  if (level < 0 || level > 3) return raise(L, "Invalid debug level.");
  command.length = 0;
  for (int i = 2; i <= argc; i++) {
    size_t length;
    const char *text = lua_tolstring(L, i, &length);
    if (text == NULL) continue;
    if (i > 2) put(L, &command, " ", 1);
    put(L, &command, text, length);
  }
  host_log(level, command.at, command.length);
  return 0;
}

static int redis_breakpoint(lua_State *L) {
  lua_pushboolean(L, 0);
  return 1;
}

static int redis_debug(lua_State *L) {
  (void)L;
  return 0;
}

static int redis_replicate_commands(lua_State *L) {
  lua_pushboolean(L, 1);
  return 1;
}

/* pcall gives the text of an error table, as scripts written before Redis 7 expect. */
static int protected_call(lua_State *L) {
  int argc = lua_gettop(L);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  if (lua_pcall(L, argc - 1, LUA_MULTRET, 0)) {
    lua_remove(L, 1);
    if (lua_istable(L, -1)) {
      lua_getfield(L, -1, "err");
      if (lua_isstring(L, -1)) lua_replace(L, -2);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, 1);
  }
  return lua_gettop(L);
}

static int math_random(lua_State *L) {
  if (!is_running) return luaL_error(L, "math.random can only be called inside a script invocation");
  lua_Number r = (lua_Number)(next_random() % INT32_MAX) / (lua_Number)INT32_MAX;
  switch (lua_gettop(L)) {
    case 0: lua_pushnumber(L, r); break;
    case 1: {
      int u = luaL_checkint(L, 1);
      luaL_argcheck(L, 1 <= u, 1, "interval is empty");
      lua_pushnumber(L, floor(r * u) + 1);
      break;
    }
    case 2: {
      int l = luaL_checkint(L, 1);
      int u = luaL_checkint(L, 2);
      luaL_argcheck(L, l <= u, 2, "interval is empty");
      lua_pushnumber(L, floor(r * (int)((unsigned)u - (unsigned)l + 1)) + l);
      break;
    }
    default: return luaL_error(L, "wrong number of arguments");
  }
  return 1;
}

static int math_randomseed(lua_State *L) {
  if (!is_running) return luaL_error(L, "math.randomseed can only be called inside a script invocation");
  seed(luaL_checkint(L, 1));
  return 0;
}

/* ---- FUNCTION LOAD ---- */

static const char *const FLAGS[] = {"no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"};
#define FLAG_COUNT 5

/* Bits of the flags in the table on the top; -1 = an unknown one. */
static int read_flags(lua_State *L) {
  int bits = 0;
  for (int i = 1;; i++) {
    lua_pushnumber(L, i);
    lua_gettable(L, -2);
    if (lua_isnil(L, -1)) break;
    const char *name = lua_isstring(L, -1) ? lua_tostring(L, -1) : "";
    int flag = 0;
    while (flag < FLAG_COUNT && strcasecmp(FLAGS[flag], name) != 0) flag++;
    lua_pop(L, 1);
    if (flag == FLAG_COUNT) return -1;
    bits |= 1 << flag;
  }
  lua_pop(L, 1);
  return bits;
}

/* The registration being read: its parts lie at these stack indices, 0 = not given. */
typedef struct {
  int name;
  int description;
  int callback;
  int flags;
} Registration;

static const char *read_named(lua_State *L, Registration *found) {
  if (!lua_istable(L, 1))
    return "calling redis.register_function with a single argument is only applicable to Lua table "
           "(representing named arguments).";
  luaL_checkstack(L, 12, NULL);
  lua_settop(L, 1);
  /* Places for name, description and callback. */
  lua_settop(L, 4);
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    if (!lua_isstring(L, -2)) return "named argument key given to redis.register_function is not a string";
    lua_pushvalue(L, -2);
    const char *key = lua_tostring(L, -1);
    lua_pop(L, 1);
    if (strcasecmp(key, "function_name") == 0) {
      if (!lua_isstring(L, -1)) return "function_name argument given to redis.register_function must be a string";
      lua_pushvalue(L, -1);
      lua_replace(L, found->name = 2);
    } else if (strcasecmp(key, "description") == 0) {
      if (!lua_isstring(L, -1)) return "description argument given to redis.register_function must be a string";
      lua_pushvalue(L, -1);
      lua_replace(L, found->description = 3);
    } else if (strcasecmp(key, "callback") == 0) {
      if (!lua_isfunction(L, -1)) return "callback argument given to redis.register_function must be a function";
      lua_pushvalue(L, -1);
      lua_replace(L, found->callback = 4);
    } else if (strcasecmp(key, "flags") == 0) {
      if (!lua_istable(L, -1))
        return "flags argument to redis.register_function must be a table representing function flags";
      found->flags = read_flags(L);
      if (found->flags < 0) return "unknown flag given";
    } else {
      return "unknown argument given to redis.register_function";
    }
    lua_pop(L, 1);
  }
  if (found->name == 0) return "redis.register_function must get a function name argument";
  if (found->callback == 0) return "redis.register_function must get a callback argument";
  return NULL;
}

static const char *read_positional(lua_State *L, Registration *found) {
  if (!lua_isstring(L, 1)) return "first argument to redis.register_function must be a string";
  if (!lua_isfunction(L, 2)) return "second argument to redis.register_function must be a function";
  found->name = 1;
  found->callback = 2;
  return NULL;
}

static int is_name(const char *text, size_t length) {
  if (length == 0) return 0;
  for (size_t i = 0; i < length; i++) {
    char c = text[i];
    int is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_letter && !(c >= '0' && c <= '9') && c != '_') return 0;
  }
  return 1;
}

/* Writes name, flags and description into `output`, and keeps the callback. */
static int redis_register_function(lua_State *L) {
  Registration found = {0, 0, 0, 0};
  size_t length;
  if (!is_loading) return raise(L, "redis.register_function can only be called on FUNCTION LOAD command");
  int argc = lua_gettop(L);
  if (argc < 1 || argc > 2) return raise(L, "wrong number of arguments to redis.register_function");
  const char *problem = argc == 1 ? read_named(L, &found) : read_positional(L, &found);
  if (problem != NULL) return raise(L, problem);
  const char *name = lua_tolstring(L, found.name, &length);
  if (!is_name(name, length))
    return raise(L, "Library names can only contain letters, numbers, or underscores(_) and must be at least one "
                    "character long");
  lua_pushlightuserdata(L, (void *)&CALLBACKS_KEY);
  lua_rawget(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, found.name);
  lua_rawget(L, -2);
  if (!lua_isnil(L, -1)) return raise(L, "Function already exists in the library");
  lua_pop(L, 1);
  lua_pushvalue(L, found.name);
  lua_pushvalue(L, found.callback);
  lua_rawset(L, -3);
  put_text(L, &output, name, length);
  put_u32(L, &output, found.flags);
  put_tag(L, found.description == 0 ? 'n' : '$');
  if (found.description != 0) {
    const char *text = lua_tolstring(L, found.description, &length);
    put_text(L, &output, text, length);
  }
  return 0;
}

/* ---- Globals ---- */

static const char *const ALLOWED[] = {
    "string",      "cjson",        "bit",      "cmsgpack", "math",         "table",        "struct",
    "redis",       "__redis__err__handler",    "xpcall",   "tostring",     "setmetatable", "next",
    "assert",      "tonumber",     "rawequal", "collectgarbage",           "getmetatable", "rawset",
    "pcall",       "coroutine",    "type",     "_G",       "select",       "unpack",       "gcinfo",
    "pairs",       "rawget",       "loadstring",           "ipairs",       "_VERSION",     "load",
    "error",       "debug",        NULL};

/* __newindex of the globals while libraries open: lets in what Redis lets in. */
static int admit_global(lua_State *L) {
  const char *name = lua_tostring(L, 2);
  for (const char *const *allowed = ALLOWED; *allowed != NULL; allowed++) {
    if (strcmp(*allowed, name) != 0) continue;
    lua_rawset(L, 1);
    break;
  }
  return 0;
}

static int nonexistent_global(lua_State *L) {
  if (lua_gettop(L) != 2) return luaL_error(L, "Wrong number of arguments to luaProtectedTableError");
  if (!lua_isstring(L, -1)) return luaL_error(L, "Second argument to luaProtectedTableError must be a string or number");
  return luaL_error(L, "Script attempted to access nonexistent global variable '%s'", lua_tostring(L, -1));
}

/* Gives the table on the top a metatable whose `field` is this function. */
static void set_metamethod(lua_State *L, const char *field, lua_CFunction function) {
  lua_newtable(L);
  lua_pushcfunction(L, function);
  lua_setfield(L, -2, field);
  lua_setmetatable(L, -2);
}

/* Makes the table on the top, its metatable and every table in it read-only. */
static void lock(lua_State *L) {
  if (lua_isreadonlytable(L, -1)) return;
  lua_enablereadonlytable(L, -1, 1);
  luaL_checkstack(L, 3, NULL);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_istable(L, -1)) lock(L);
    lua_pop(L, 1);
  }
  if (lua_getmetatable(L, -1)) {
    lock(L);
    lua_pop(L, 1);
  }
}

/* Of the basic types only strings have a metatable. */
static void lock_strings(lua_State *L) {
  lua_pushliteral(L, "");
  if (lua_getmetatable(L, -1)) {
    lock(L);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static const luaL_Reg LIBRARIES[] = {
    {"", luaopen_base},         {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
    {LUA_MATHLIBNAME, luaopen_math}, {LUA_DBLIBNAME, luaopen_debug}, {"cjson", luaopen_cjson},
    {"struct", luaopen_struct}, {"cmsgpack", luaopen_cmsgpack},  {"bit", luaopen_bit},
    {NULL, NULL}};

/* In Redis's order, which is that of pairs(redis). */
static const luaL_Reg REDIS_FIRST[] = {{"call", redis_call}, {"pcall", redis_pcall}, {"log", redis_log}, {NULL, NULL}};
static const luaL_Reg REDIS_NEXT[] = {
    {"setresp", redis_setresp},
    {"sha1hex", redis_sha1hex},
    {"error_reply", redis_error_reply},
    {"status_reply", redis_status_reply},
    {"set_repl", redis_set_repl},
    {NULL, NULL}};
static const luaL_Reg REDIS_LAST[] = {{"acl_check_cmd", redis_acl_check_cmd}, {NULL, NULL}};

static const luaL_Reg REDIS_OF_SCRIPTS[] = {
    {"breakpoint", redis_breakpoint},
    {"debug", redis_debug},
    {"replicate_commands", redis_replicate_commands},
    {NULL, NULL}};

typedef struct {
  const char *name;
  int value;
} Constant;

static const Constant LOG_LEVELS[] = {
    {"LOG_DEBUG", 0}, {"LOG_VERBOSE", 1}, {"LOG_NOTICE", 2}, {"LOG_WARNING", 3}, {NULL, 0}};
static const Constant REPLICATION[] = {
    {"REPL_NONE", 0}, {"REPL_AOF", 1}, {"REPL_SLAVE", 2}, {"REPL_REPLICA", 2}, {"REPL_ALL", 3}, {NULL, 0}};

static int version_number;
static char version_text[32];

static void set_functions(lua_State *L, const luaL_Reg *functions) {
  for (; functions->name != NULL; functions++) {
    lua_pushcfunction(L, functions->func);
    lua_setfield(L, -2, functions->name);
  }
}

static void set_constants(lua_State *L, const Constant *constants) {
  for (; constants->name != NULL; constants++) {
    lua_pushnumber(L, constants->value);
    lua_setfield(L, -2, constants->name);
  }
}

static void set_version(lua_State *L) {
  lua_pushnumber(L, version_number);
  lua_setfield(L, -2, "REDIS_VERSION_NUM");
  lua_pushstring(L, version_text);
  lua_setfield(L, -2, "REDIS_VERSION");
}

static void open_globals(lua_State *L) {
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  set_metamethod(L, "__newindex", admit_global);
  lua_pop(L, 1);
  for (const luaL_Reg *library = LIBRARIES; library->name != NULL; library++) {
    lua_pushcfunction(L, library->func);
    lua_pushstring(L, library->name);
    lua_call(L, 1, 0);
  }
  lua_pushcfunction(L, protected_call);
  lua_setglobal(L, "pcall");
  lua_newtable(L);
  set_functions(L, REDIS_FIRST);
  set_constants(L, LOG_LEVELS);
  set_version(L);
  set_functions(L, REDIS_NEXT);
  set_constants(L, REPLICATION);
  set_functions(L, REDIS_LAST);
  lua_setglobal(L, "redis");
  lua_getglobal(L, "math");
  lua_pushcfunction(L, math_random);
  lua_setfield(L, -2, "random");
  lua_pushcfunction(L, math_randomseed);
  lua_setfield(L, -2, "randomseed");
  lua_pop(L, 1);
}

/*
 * Gives errors the place where they happened; one of a C function counts where that was called. Returns the handler.
 * Scripts see it as __redis__err__handler, as in Redis, where it is Lua as well: error tables may be read-only.
 */
static const char ERROR_HANDLER[] =
    "local dbg = debug\n"
    "debug = nil\n"
    "return function(err)\n"
    "  local i = dbg.getinfo(2, 'nSl')\n"
    "  if i and i.what == 'C' then i = dbg.getinfo(3, 'nSl') end\n"
    "  if type(err) ~= 'table' then err = {err = 'ERR ' .. tostring(err)} end\n"
    "  if i then\n"
    "    err['source'] = i.source\n"
    "    err['line'] = i.currentline\n"
    "  end\n"
    "  return err\n"
    "end\n";

static void push_error_handler(lua_State *L) {
  if (luaL_loadbuffer(L, ERROR_HANDLER, sizeof ERROR_HANDLER - 1, "@err_handler_def")) lua_error(L);
  lua_call(L, 0, 1);
}

/* Registry: the handler of each interpreter, and the places that a run uses, which exist so that it allocates nothing. */
#define HANDLER_PLACE 1
#define RESULT_PLACE 2
#define CALLEE_PLACE 3
#define KEYS_PLACE 4
#define ARGS_PLACE 5
#define PLACES 5

static void keep_places(lua_State *L) {
  for (int i = 2; i <= PLACES; i++) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, i);
  }
}

static int open_scripts(lua_State *L) {
  open_globals(L);
  lua_getglobal(L, "redis");
  set_functions(L, REDIS_OF_SCRIPTS);
  lua_pop(L, 1);
  push_error_handler(L);
  lua_pushvalue(L, -1);
  lua_setglobal(L, "__redis__err__handler");
  lua_rawseti(L, LUA_REGISTRYINDEX, HANDLER_PLACE);
  keep_places(L);
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  set_metamethod(L, "__index", nonexistent_global);
  lock_strings(L);
  lock(L);
  lua_pop(L, 1);
  return 0;
}

static const char LOADING_KEY = 'l', GLOBALS_KEY = 'g';

static void keep(lua_State *L, const char *key) {
  lua_pushlightuserdata(L, (void *)key);
  lua_insert(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

static void push_kept(lua_State *L, const char *key) {
  lua_pushlightuserdata(L, (void *)key);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

static int open_functions(lua_State *L) {
  open_globals(L);
  /* What a library finds while it loads. */
  lua_newtable(L);
  lua_newtable(L);
  lua_pushcfunction(L, redis_register_function);
  lua_setfield(L, -2, "register_function");
  lua_pushcfunction(L, redis_log);
  lua_setfield(L, -2, "log");
  set_constants(L, LOG_LEVELS);
  set_version(L);
  set_metamethod(L, "__index", nonexistent_global);
  lua_setfield(L, -2, "redis");
  set_metamethod(L, "__index", nonexistent_global);
  lock(L);
  keep(L, &LOADING_KEY);
  push_error_handler(L);
  lua_rawseti(L, LUA_REGISTRYINDEX, HANDLER_PLACE);
  keep_places(L);
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  set_metamethod(L, "__index", nonexistent_global);
  lock_strings(L);
  lock(L);
  keep(L, &GLOBALS_KEY);
  /* An empty table in front of the globals, which the loading of a library turns to its own. */
  lua_newtable(L);
  lua_newtable(L);
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  lua_setfield(L, -2, "__index");
  lua_enablereadonlytable(L, -1, 1);
  lua_setmetatable(L, -2);
  lua_enablereadonlytable(L, -1, 1);
  lua_replace(L, LUA_GLOBALSINDEX);
  return 0;
}

static void turn_globals(lua_State *L, const char *key) {
  lua_getmetatable(L, LUA_GLOBALSINDEX);
  lua_enablereadonlytable(L, -1, 0);
  push_kept(L, key);
  lua_setfield(L, -2, "__index");
  lua_enablereadonlytable(L, -1, 1);
  lua_pop(L, 1);
}

/* ---- The interpreters ---- */

typedef struct {
  lua_State *L;
  json_config_t *json;
  json_config_t json_defaults;
} Interpreter;

/* [0] runs scripts, [1] functions. */
static Interpreter interpreters[2];

static int never_returns(lua_State *L) {
  (void)L;
  __builtin_trap();
}

static int find_json(lua_State *L) {
  Interpreter *interpreter = lua_touserdata(L, 1);
  push_kept(L, &GLOBALS_KEY);
  if (lua_isnil(L, -1)) lua_pushvalue(L, LUA_GLOBALSINDEX);
  lua_getfield(L, -1, "cjson");
  lua_getfield(L, -1, "encode");
  lua_getupvalue(L, -1, 1);
  interpreter->json = lua_touserdata(L, -1);
  interpreter->json_defaults = *interpreter->json;
  return 0;
}

static int open_interpreter(Interpreter *interpreter, lua_CFunction opener) {
  lua_State *L = interpreter->L = lua_newstate(allocate, NULL);
  if (L == NULL) return 0;
  lua_atpanic(L, never_returns);
  if (lua_cpcall(L, opener, NULL) || lua_cpcall(L, find_json, interpreter)) return 0;
  lua_settop(L, 0);
  return 1;
}

EXPORT("open") int open_engine(int bytes, int version) {
  limit = bytes;
  version_number = version;
  snprintf(version_text, sizeof version_text, "%d.%d.%d", version >> 16, (version >> 8) & 255, version & 255);
  return open_interpreter(&interpreters[0], open_scripts) && open_interpreter(&interpreters[1], open_functions);
}

/* Sets back what a script may have changed for the next one: settings of cjson and of the garbage collector. */
static void tidy(Interpreter *interpreter) {
  lua_State *L = interpreter->L;
  json_config_t *now = interpreter->json, *before = &interpreter->json_defaults;
  lua_settop(L, 0);
  lua_sethook(L, NULL, 0, 0);
  if (!now->encode_keep_buffer) strbuf_init(&now->encode_buf, 0);
  strbuf_t buffer = now->encode_buf;
  *now = *before;
  now->encode_buf = buffer;
  lua_gc(L, LUA_GCSETPAUSE, LUAI_GCPAUSE);
  lua_gc(L, LUA_GCSETSTEPMUL, LUAI_GCMUL);
  if (G(L)->GCthreshold == MAX_LUMEM) lua_gc(L, LUA_GCRESTART, 0);
  shrink(&input);
  shrink(&reply);
  shrink(&command);
}

EXPORT("collect") void collect(void) {
  for (int i = 0; i < 2; i++) lua_gc(interpreters[i].L, LUA_GCCOLLECT, 0);
}

/* ---- Compiling ---- */

typedef struct {
  Interpreter *interpreter;
  int length;
  int place;
} Compilation;

static int compile_protected(lua_State *L) {
  Compilation *job = lua_touserdata(L, 1);
  const char *name = job->interpreter == &interpreters[0] ? "@user_script" : "@user_function";
  lua_settop(L, 0);
  if (luaL_loadbuffer(L, input.at, job->length, name)) {
    output.length = 0;
    const char *text = lua_tostring(L, -1);
    put_line(L, '-', text, strlen(text));
    return 0;
  }
  job->place = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* Compiles the source in `input`; returns its place, 0 with an error's text in `output`, -1 without memory. */
EXPORT("compile") int compile(int kind, int length) {
  Compilation job = {&interpreters[kind], length, 0};
  int status = lua_cpcall(job.interpreter->L, compile_protected, &job);
  lua_settop(job.interpreter->L, 0);
  shrink(&input);
  return status == 0 ? job.place : -1;
}

EXPORT("forget") void forget(int kind, int place) { luaL_unref(interpreters[kind].L, LUA_REGISTRYINDEX, place); }

/* ---- Running ---- */

typedef struct {
  Reader reader;
  int place;
  int keys;
  int args;
  const char *name;
  int name_length;
  int status;
} Run;

static void push_texts(lua_State *L, Reader *reader, int count) {
  lua_createtable(L, count, 0);
  for (int i = 1; i <= count; i++) {
    push_text(L, reader);
    lua_rawseti(L, -2, i);
  }
}

/* `input` has the name, the keys and the arguments. */
static void begin_run(Run *run) {
  run->reader.at = input.at;
  run->name_length = read_u32(&run->reader);
  run->name = run->reader.at;
  run->reader.at += run->name_length;
  output.length = 0;
  script_resp = 2;
}

static int prepare_script(lua_State *L) {
  Run *run = lua_touserdata(L, 1);
  lua_enablereadonlytable(L, LUA_GLOBALSINDEX, 0);
  push_texts(L, &run->reader, run->keys);
  lua_pushliteral(L, "KEYS");
  lua_insert(L, -2);
  lua_rawset(L, LUA_GLOBALSINDEX);
  push_texts(L, &run->reader, run->args);
  lua_pushliteral(L, "ARGV");
  lua_insert(L, -2);
  lua_rawset(L, LUA_GLOBALSINDEX);
  lua_enablereadonlytable(L, LUA_GLOBALSINDEX, 1);
  return 0;
}

static void put_field(lua_State *L, const char *name, const char *before) {
  size_t length;
  lua_getfield(L, -1, name);
  const char *text = lua_tolstring(L, -1, &length);
  put(L, &output, before, strlen(before));
  if (text != NULL) put(L, &output, text, strlen(text));
  lua_pop(L, 1);
}

static int has_text(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  int has = lua_isstring(L, -1);
  lua_pop(L, 1);
  return has;
}

static void put_error_text(lua_State *L) {
  if (has_text(L, "err"))
    put_field(L, "err", "");
  else
    put(L, &output, "ERR unknown error", 17);
}

static void put_run_error(lua_State *L, Run *run) {
  size_t place = begin_count(L, '-');
  if (lua_istable(L, -1)) {
    put_error_text(L);
    if (has_text(L, "line") && has_text(L, "source")) {
      put(L, &output, " script: ", 9);
      put(L, &output, run->name, run->name_length);
      put_field(L, "source", ", on ");
      put_field(L, "line", ":");
      put(L, &output, ".", 1);
    }
  } else {
    const char *text = lua_isstring(L, -1) ? lua_tostring(L, -1) : "execution failure";
    size_t length = strlen(text);
    put(L, &output, "ERR Error running script ", 25);
    put(L, &output, run->name, run->name_length);
    put(L, &output, ", ", 2);
    put(L, &output, text, length > 100 ? 100 : length);
  }
  for (char *at = output.at + place + 4; at < output.at + output.length; at++)
    if (*at == '\r' || *at == '\n') *at = ' ';
  end_count(place, output.length - place - 4);
}

static int finish_run(lua_State *L) {
  Run *run = lua_touserdata(L, 1);
  /* Two values below the result, as in Redis: the stack's limit is reached at the same depth. */
  lua_rawgeti(L, LUA_REGISTRYINDEX, RESULT_PLACE);
  output.length = 0;
  depth = 0;
  if (run->status == 0)
    put_value(L);
  else
    put_run_error(L, run);
  return 0;
}

/* The result, or the error, becomes bytes. Returns 0, or -1 without memory. */
static int end_run(Interpreter *interpreter, Run *run) {
  lua_State *L = interpreter->L;
  is_running = 0;
  lua_rawseti(L, LUA_REGISTRYINDEX, RESULT_PLACE);
  int status = lua_cpcall(L, finish_run, run);
  if (status == LUA_ERRRUN) {
    /* A metamethod of the result, or no room for it: an error like the script's own. */
    lua_rawseti(L, LUA_REGISTRYINDEX, RESULT_PLACE);
    run->status = status;
    status = lua_cpcall(L, finish_run, run);
  }
  lua_settop(L, 0);
  lua_pushboolean(L, 0);
  lua_rawseti(L, LUA_REGISTRYINDEX, RESULT_PLACE);
  tidy(interpreter);
  return status == 0 ? 0 : -1;
}

static void tick(lua_State *L, lua_Debug *ar) {
  (void)L;
  (void)ar;
  host_tick();
}

EXPORT("run_script") int run_script(int place, int keys, int args, int instructions_a_tick) {
  Interpreter *interpreter = &interpreters[0];
  lua_State *L = interpreter->L;
  Run run = {{NULL}, place, keys, args, NULL, 0, 0};
  begin_run(&run);
  if (lua_cpcall(L, prepare_script, &run)) {
    lua_enablereadonlytable(L, LUA_GLOBALSINDEX, 1);
    tidy(interpreter);
    return -1;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, HANDLER_PLACE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, place);
  if (instructions_a_tick > 0) lua_sethook(L, tick, LUA_MASKCOUNT, instructions_a_tick);
  is_running = 1;
  run.status = lua_pcall(L, 0, 1, -2);
  return end_run(interpreter, &run);
}

/* ---- Libraries ---- */

/* Runs the library's source: its functions register themselves. Errors go up. */
static void load_library(lua_State *L, int place) {
  output.length = 0;
  lua_newtable(L);
  keep(L, &CALLBACKS_KEY);
  turn_globals(L, &LOADING_KEY);
  lua_rawgeti(L, LUA_REGISTRYINDEX, place);
  is_loading = 1;
  int status = lua_pcall(L, 0, 0, 0);
  is_loading = 0;
  turn_globals(L, &GLOBALS_KEY);
  if (status != 0) lua_error(L);
}

static int load_protected(lua_State *L) {
  Run *run = lua_touserdata(L, 1);
  lua_settop(L, 0);
  load_library(L, run->place);
  return 0;
}

static int put_load_error(lua_State *L) {
  lua_settop(L, 0);
  lua_rawgeti(L, LUA_REGISTRYINDEX, RESULT_PLACE);
  output.length = 0;
  size_t place = begin_count(L, '-');
  if (lua_istable(L, -1)) {
    put_error_text(L);
  } else {
    put(L, &output, "ERR ", 4);
    if (lua_isstring(L, -1)) put(L, &output, lua_tostring(L, -1), strlen(lua_tostring(L, -1)));
  }
  end_count(place, output.length - place - 4);
  return 0;
}

static int end_load(Interpreter *interpreter, int status) {
  lua_State *L = interpreter->L;
  is_loading = 0;
  if (status == LUA_ERRRUN) {
    lua_rawseti(L, LUA_REGISTRYINDEX, RESULT_PLACE);
    status = lua_cpcall(L, put_load_error, NULL) == 0 ? 1 : -1;
  } else if (status != 0) {
    status = -1;
  }
  tidy(interpreter);
  return status;
}

/* 0: `output` has the functions; 1: an error's text; -1: no memory. */
EXPORT("load_library") int load_library_of(int place, int instructions_a_tick) {
  Interpreter *interpreter = &interpreters[1];
  lua_State *L = interpreter->L;
  Run run = {{NULL}, place, 0, 0, NULL, 0, 0};
  if (instructions_a_tick > 0) lua_sethook(L, tick, LUA_MASKCOUNT, instructions_a_tick);
  return end_load(interpreter, lua_cpcall(L, load_protected, &run));
}

static int prepare_function(lua_State *L) {
  Run *run = lua_touserdata(L, 1);
  lua_settop(L, 0);
  load_library(L, run->place);
  output.length = 0;
  push_kept(L, &CALLBACKS_KEY);
  lua_pushlstring(L, run->name, run->name_length);
  lua_rawget(L, -2);
  if (!lua_isfunction(L, -1)) return raise(L, "Function not found");
  lua_rawseti(L, LUA_REGISTRYINDEX, CALLEE_PLACE);
  push_texts(L, &run->reader, run->keys);
  lua_rawseti(L, LUA_REGISTRYINDEX, KEYS_PLACE);
  push_texts(L, &run->reader, run->args);
  lua_rawseti(L, LUA_REGISTRYINDEX, ARGS_PLACE);
  return 0;
}

/* Like run_script; 1 = the library did not load, with an error's text. Each call begins with a library just loaded. */
EXPORT("run_function") int run_function(int place, int keys, int args, int instructions_a_tick) {
  Interpreter *interpreter = &interpreters[1];
  lua_State *L = interpreter->L;
  Run run = {{NULL}, place, keys, args, NULL, 0, 0};
  begin_run(&run);
  if (instructions_a_tick > 0) lua_sethook(L, tick, LUA_MASKCOUNT, instructions_a_tick);
  int status = lua_cpcall(L, prepare_function, &run);
  if (status != 0) return end_load(interpreter, status);
  lua_rawgeti(L, LUA_REGISTRYINDEX, HANDLER_PLACE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, CALLEE_PLACE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, KEYS_PLACE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, ARGS_PLACE);
  is_running = 1;
  run.status = lua_pcall(L, 2, 1, -4);
  return end_run(interpreter, &run);
}

/* ---- What the C library would ask of a system: there is none. ---- */

int __imported_wasi_snapshot_preview1_fd_close(int fd) { return 8; }
int __imported_wasi_snapshot_preview1_fd_seek(int fd, long long offset, int whence, int result) { return 8; }
int __imported_wasi_snapshot_preview1_fd_write(int fd, int from, int count, int result) { return 8; }

_Noreturn void abort(void) { __builtin_trap(); }
_Noreturn void exit(int status) {
  (void)status;
  __builtin_trap();
}
