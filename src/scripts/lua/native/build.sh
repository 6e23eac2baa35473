#!/bin/sh
# Builds ../lua.wasm: the Lua 5.1 of Redis with its libraries, and glue.c. Needed only when one of them changes.
#
#   build.sh SOURCE    SOURCE is Redis's source tree with the distribution's security fixes applied, for example what
#                      `apt-get source redis` unpacks on Debian 12 (redis 5:7.0.15-1~deb12u10)
#
# Needs clang 14, lld 14, wasi-libc and libclang-rt-14-dev-wasm32 (Debian 12). The same inputs give the same bytes.
set -eu
if [ $# -ne 1 ] || [ "$1" = --help ]; then sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; fi

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$1"/deps/lua/src/*.[ch] "$work"
cp "$here"/*.[chs] "$work"
cd "$work"

# WebAssembly's pointers and `long` have 32 bits, those of the Redis that scripts know have 64.
sed -i 's/#define LUA_INTEGER	ptrdiff_t/#define LUA_INTEGER	long long/
        s/#define lua_number2str(s,n).*/int rondo_number2str(char *text, double number);\
#define lua_number2str(s,n)	rondo_number2str((s), (n))/' luaconf.h
sed -i 's/ptrdiff_t/long long/g
        s/(size_t)\(pose\|(init)\)/(unsigned long long)\1/
        s/(unsigned LUA_INTFRM_T)luaL_checknumber/rondo_number2unsigned(luaL_checknumber/
        /rondo_number2unsigned/s/arg));/arg)));/
        s/#include "lstrlib.h"//
        1i unsigned long long rondo_number2unsigned(double number);' lstrlib.c
# A result that is too large is refused before the first byte is copied.
sed -i '/^static int str_rep /,/^}/d; s/{"rep", str_rep}/{"rep", rondo_rep}/; 1i int rondo_rep(struct lua_State *L);' lstrlib.c
sed -i 's/unsigned long n;/unsigned long long n;/; s/strtoul(/strtoull(/' lbaselib.c
sed -i 's/strtoul(/strtoull(/' lobject.c
sed -i 's/#define STRUCT_INT	long/#define STRUCT_INT	long long/; s/sizeof(long)/8/; s/sizeof(size_t)/8/
        s/value = (Uinttype)n;/value = rondo_number2unsigned(n);/
        s/size = lua_tonumber(L, -1);/size = rondo_number2size(lua_tonumber(L, -1));/
        s/size_t pos = luaL_optinteger(L, 3, 1);/size_t pos = rondo_number2size(luaL_optnumber(L, 3, 1));/
        1i unsigned int rondo_number2size(double number);
        1i unsigned long long rondo_number2unsigned(double number);' lua_struct.c
sed -i 's/#define BITS_32 1/#define BITS_32 0/' lua_cmsgpack.c
sed -i "/solarisfixes/d" lua_cjson.c
# Of two arguments that are wrong, the Redis that scripts know (built by GCC) complains of the second.
sed -i 's/lua_pushnumber(L, \(fmod\|atan2\|pow\)(luaL_checknumber(L, 1), /luaL_checknumber(L, 2); &/
        s/lua_pushnumber(L, ldexp(/luaL_checkint(L, 2); &/; s/^  int e;/  int e = 0;/' lmathlib.c
# glibc's printf of a null pointer.
sed -i 's/int l = sprintf(buff, "%p", va_arg(argp, void \*));/void *at = va_arg(argp, void *); sprintf(buff, at ? "%p" : "(nil)", at);/
        s/sprintf(buff, "%p", va_arg(argp, void \*));/{ void *at = va_arg(argp, void *); sprintf(buff, at ? "%p" : "(nil)", at); }/' lobject.c
# Nothing reaches a file or a terminal.
sed -i '/^LUALIB_API int luaL_loadfile/,/^}/d' lauxlib.c
sed -i '/luaB_loadfile\|luaB_dofile\|luaB_print/{/static int/!d}; /^static int luaB_\(print\|loadfile\|dofile\) /,/^}/d' lbaselib.c
sed -i '/^static int db_debug/,/^}/d; /db_debug/d' ldblib.c
sed -i 's/vfprintf(stderr.*/(void)0;/; s/fprintf(stderr.*;/(void)0;/' strbuf.c

flags="--target=wasm32-wasi --sysroot=/usr -isystem . -isystem /usr/include/wasm32-wasi -O2 -ffile-prefix-map=$work=."
flags="$flags -mllvm -wasm-enable-sjlj -mexception-handling -DENABLE_CJSON_GLOBAL -DLUA_USELONGLONG -w"
sources="lapi lcode ldebug ldo lfunc lgc llex lmem lobject lopcodes lparser lstate lstring ltable ltm lvm lzio lundump
  ldump lauxlib lbaselib lstrlib ltablib lmathlib ldblib lua_cmsgpack lua_struct lua_bit strbuf fpconv glue"
for name in $sources; do clang-14 $flags -c "$name.c" -o "$name.o"; done
clang-14 --target=wasm32-wasi -isystem /usr/include/wasm32-wasi -O2 -c sjlj.c -o sjlj.o
clang-14 --target=wasm32-wasi -mexception-handling -c sjlj-throw.s -o sjlj-throw.o

wasm-ld-14 --no-entry --strip-all --gc-sections --import-memory --stack-first -z stack-size=524288 \
  --export=__wasm_call_ctors ./*.o -L/usr/lib/wasm32-wasi -lc \
  /usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi/libclang_rt.builtins-wasm32.a -o lua.wasm
cp lua.wasm "$here/../lua.wasm"
# A test compares: whoever changes a source builds anew.
cd "$here" && sha256sum ../lua.wasm build.sh ./*.[chs] >built-from.sha256
cat built-from.sha256
