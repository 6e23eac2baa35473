/*
 * What clang's lowering of setjmp and longjmp (-wasm-enable-sjlj) calls. Each function that calls setjmp keeps a table
 * of (id, label): longjmp throws, and the function that knows the id goes on at the label. A function of Lua calls
 * setjmp once in each activation, so the first four places that the compiler sets aside always suffice.
 */
#include <stdint.h>

typedef struct {
  uint32_t id;
  uint32_t label;
} Entry;

/* sjlj-throw.s: C cannot name the tag. */
_Noreturn void rondo_throw(void *arguments);

static uint32_t last_id = 0;
static uint32_t second_result = 0;
static struct {
  void *env;
  int value;
} thrown;

void setTempRet0(uint32_t value) { second_result = value; }

uint32_t getTempRet0(void) { return second_result; }

Entry *saveSetjmp(uint32_t *env, uint32_t label, Entry *table, uint32_t size) {
  *env = ++last_id;
  for (uint32_t i = 0; i < size; i++) {
    if (table[i].id != 0) continue;
    table[i].id = last_id;
    table[i].label = label;
    table[i + 1].id = 0;
    second_result = size;
    return table;
  }
  __builtin_trap();
}

uint32_t testSetjmp(uint32_t id, Entry *table, uint32_t size) {
  for (uint32_t i = 0; i < size && table[i].id != 0; i++)
    if (table[i].id == id) return table[i].label;
  return 0;
}

_Noreturn void __wasm_longjmp(void *env, int value) {
  thrown.env = env;
  thrown.value = value == 0 ? 1 : value;
  rondo_throw(&thrown);
}
