/* A disk that fails at the n-th operation on a folder, whoever asks for it: Python, pyarrow, torch or safetensors.

   Preloaded into a process (LD_PRELOAD). `disk_faults_begin` says for which folder, at which operation, and how:
   0 nothing, 1 a write takes half of what it is given, 2 the disk is full from there on, 3 the operation fails once.
   Counted are writes, truncations, reservations, flushes, renames and files that are made. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, SHORT, FULL, BROKEN };
enum { WRITE, GROW, FLUSH, RENAME, MAKE };

static char root[PATH_MAX];
static size_t root_length;
static long at, count, fired;
static int mode;

void disk_faults_begin(const char *folder, long number, int how) {
  strncpy(root, folder, sizeof root - 1);
  root_length = strlen(root);
  at = number, mode = how, count = fired = 0;
}

long disk_faults_count(void) { return count; }
long disk_faults_fired(void) { return fired; }

static int inside(const char *path) {
  char whole[PATH_MAX];
  if (!root_length) return 0;
  if (path[0] != '/') {
    if (!getcwd(whole, sizeof whole)) return 0;
    return !strncmp(whole, root, root_length);
  }
  return !strncmp(path, root, root_length);
}

static int inside_file(int file) {
  char link[64], path[PATH_MAX];
  if (!root_length || file <= 2) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return inside(path) && path[0] == '/';
}

/* The error number of this operation, 0 for none, -1 for a write that takes half. */
static int fate(int kind) {
  long number = ++count;
  if (mode == NOTHING || number < at) return 0;
  if (mode == FULL) {
    if (kind == FLUSH || kind == RENAME) return 0;
    fired++;
    return number == at && kind == WRITE ? -1 : ENOSPC;
  }
  if (number != at) return 0;
  if (mode == SHORT && kind != WRITE) return 0;
  fired++;
  return mode == SHORT ? -1 : EIO;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAIL(kind, condition, result) \
  do { if (condition) { int is = fate(kind); if (is > 0) { errno = is; return result; } } } while (0)

ssize_t write(int file, const void *data, size_t size) {
  REAL(write);
  if (inside_file(file)) {
    int is = fate(WRITE);
    if (is > 0) { errno = is; return -1; }
    if (is < 0 && size > 1) size /= 2;
  }
  return real(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t where) {
  REAL(pwrite64);
  if (inside_file(file)) {
    int is = fate(WRITE);
    if (is > 0) { errno = is; return -1; }
    if (is < 0 && size > 1) size /= 2;
  }
  return real(file, data, size, where);
}

ssize_t writev(int file, const struct iovec *parts, int many) {
  REAL(writev);
  if (inside_file(file)) {
    int is = fate(WRITE);
    if (is > 0) { errno = is; return -1; }
    if (is < 0 && many && parts[0].iov_len) return write(file, parts[0].iov_base, (parts[0].iov_len + 1) / 2);
  }
  return real(file, parts, many);
}

ssize_t sendfile64(int to, int from, off64_t *where, size_t size) {
  REAL(sendfile64);
  FAIL(WRITE, inside_file(to), -1);
  return real(to, from, where, size);
}

int ftruncate64(int file, off64_t size) {
  REAL(ftruncate64);
  FAIL(GROW, inside_file(file), -1);
  return real(file, size);
}

int posix_fallocate64(int file, off64_t from, off64_t size) {
  REAL(posix_fallocate64);
  if (inside_file(file)) { int is = fate(GROW); if (is > 0) return is; }
  return real(file, from, size);
}

int fsync(int file) {
  REAL(fsync);
  FAIL(FLUSH, inside_file(file), -1);
  return real(file);
}

int rename(const char *from, const char *to) {
  REAL(rename);
  FAIL(RENAME, inside(to), -1);
  return real(from, to);
}

int open64(const char *path, int flags, ...) {
  REAL(open64);
  va_list more;
  va_start(more, flags);
  int permissions = flags & O_CREAT ? va_arg(more, int) : 0;
  va_end(more);
  FAIL(MAKE, (flags & O_CREAT) && inside(path), -1);
  return real(path, flags, permissions);
}

int mkdir(const char *path, mode_t permissions) {
  REAL(mkdir);
  FAIL(MAKE, inside(path), -1);
  return real(path, permissions);
}
