/*
 * Makes the wall clock of a process wrong, by as many milliseconds as stand at the start of a file (text), and leaves its
 * monotonic clock alone. The file may change at any time: it is mapped, not read.
 *
 *   cc -shared -fPIC -O2 -o wrong-clock.so wrong-clock.c
 *   WRONG_CLOCK_FILE=offset LD_PRELOAD=./wrong-clock.so redis-server
 *
 * System calls only: a memory allocator may ask for the time before anything else in the process is ready.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile char *offset_text;

static long long offset_ms(void) {
  if (!offset_text) {
    const char *path = getenv("WRONG_CLOCK_FILE");
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0) : -1;
    if (file < 0) return 0;
    void *mapped = (void *)syscall(SYS_mmap, 0, 16, PROT_READ, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (mapped == MAP_FAILED) return 0;
    offset_text = mapped;
  }
  long long ms = 0;
  int negative = offset_text[0] == '-';
  for (int i = 1; i < 16 && offset_text[i] >= '0' && offset_text[i] <= '9'; i++) ms = ms * 10 + (offset_text[i] - '0');
  return negative ? -ms : ms;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  long failed = syscall(SYS_clock_gettime, clock, at);
  if (failed || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return (int)failed;
  at->tv_sec += offset_ms() / 1000;
  return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
