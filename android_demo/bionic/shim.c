// What Android's libtensorflowlite_jni.so asks of bionic and glibc lacks. Only for tests on a
// desktop: the library's own code stays as it is.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// bionic's stdin, stdout and stderr are three structs of 152 bytes, one after another.
enum { kFileBytes = 152 };
char __sF[3][kFileBytes];

static FILE *stream(FILE *file) {
  char *at = (char *)file, *first = (char *)__sF;
  if (at < first || at >= first + sizeof __sF) return file;
  FILE *const known[] = {stdin, stdout, stderr};
  return known[(at - first) / kFileBytes];
}

int *__errno(void) { return &errno; }
size_t __strlen_chk(const char *text, size_t size) { (void)size; return strlen(text); }

// Below API level 20 the Java classes never turn XNNPACK on.
int __system_property_get(const char *name, char *value) {
  return sprintf(value, "%s", strcmp(name, "ro.build.version.sdk") ? "" : "34");
}

// bionic's default scope includes the library that asks.
void *bionic_dlsym(void *handle, const char *name) {
  void *found = dlsym(handle, name);
  if (found || handle) return found;
  return dlsym(dlopen("libtensorflowlite_jni.so", RTLD_NOW | RTLD_NOLOAD), name);
}

void android_set_abort_message(const char *message) { fprintf(stderr, "abort: %s\n", message); }

int __android_log_vprint(int priority, const char *tag, const char *format, va_list list) {
  (void)priority;
  fprintf(stderr, "%s: ", tag);
  int written = vfprintf(stderr, format, list);
  fputc('\n', stderr);
  return written;
}

int bionic_fprintf(FILE *file, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int written = vfprintf(stream(file), format, list);
  va_end(list);
  return written;
}
int bionic_vfprintf(FILE *file, const char *format, va_list list) {
  return vfprintf(stream(file), format, list);
}
int bionic_fputc(int c, FILE *file) { return fputc(c, stream(file)); }
int bionic_fflush(FILE *file) { return fflush(file ? stream(file) : NULL); }
size_t bionic_fwrite(const void *data, size_t size, size_t count, FILE *file) {
  return fwrite(data, size, count, stream(file));
}

// bionic numbers these names otherwise.
long bionic_sysconf(int name) {
  switch (name) {
    case 39:
    case 40: return sysconf(_SC_PAGESIZE);
    case 96: return sysconf(_SC_NPROCESSORS_CONF);
    case 97: return sysconf(_SC_NPROCESSORS_ONLN);
    case 98: return sysconf(_SC_PHYS_PAGES);
    default: fprintf(stderr, "sysconf %d is not known\n", name); return -1;
  }
}
