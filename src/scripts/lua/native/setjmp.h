/* WASI's C library has no setjmp; the compiler turns calls of these into WebAssembly exceptions (sjlj.c). */
#ifndef RONDO_SETJMP_H
#define RONDO_SETJMP_H

typedef unsigned long jmp_buf[6];

int setjmp(jmp_buf env) __attribute__((returns_twice));
_Noreturn void longjmp(jmp_buf env, int value);

#endif
