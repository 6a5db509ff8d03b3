// Android's app_process on a pretended phone: a JVM for ARM that runs a main class.
//
//     app_process [java options] FOLDER CLASS ARGUMENTS
//
// CLASSPATH names the jar that stands for the APK's dex. What ART and bionic would say of a class
// or a library is said as they say it: a cause in the log, and the end by a signal, whose status
// (128 + signal) is given as an exit code, because proot hides signals.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ART "/apex/com.android.art"
enum { kAborted = 134, kKilled = 137, kMostOptions = 32 };

// proot 5.1 knows no statx, without which the JDK finds no jar.
int statx(int folder, const char *path, int flags, unsigned mask, struct statx *out) {
  struct stat found;
  (void)mask;
  if (fstatat(folder, path, &found, flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))) return -1;
  memset(out, 0, sizeof *out);
  out->stx_mask = STATX_BASIC_STATS;
  out->stx_blksize = found.st_blksize;
  out->stx_nlink = found.st_nlink;
  out->stx_uid = found.st_uid;
  out->stx_gid = found.st_gid;
  out->stx_mode = found.st_mode;
  out->stx_ino = found.st_ino;
  out->stx_size = found.st_size;
  out->stx_blocks = found.st_blocks;
  out->stx_atime.tv_sec = found.st_atim.tv_sec;
  out->stx_ctime.tv_sec = found.st_ctim.tv_sec;
  out->stx_mtime.tv_sec = found.st_mtim.tv_sec;
  out->stx_mtime.tv_nsec = found.st_mtim.tv_nsec;
  out->stx_dev_major = major(found.st_dev);
  out->stx_dev_minor = minor(found.st_dev);
  return 0;
}

// Bionic's linker: where the pushed library is the Android archive's own, its copy for glibc is
// loaded, which is the same code. Any other file is loaded as it is.
void *dlopen(const char *path, int flags) {
  static void *(*real)(const char *, int);
  if (!real) real = dlsym(RTLD_NEXT, "dlopen");
  const char *from = getenv("LINKER_FROM"), *to = getenv("LINKER_TO");
  return real(path && from && to && !strcmp(path, from) ? to : path, flags);
}

static void log_line(const char *level, const char *tag, const char *text) {
  FILE *log = fopen("/dev/log_main", "a");
  if (!log) return;
  fprintf(log, "%s/%s(%5d): %s\n", level, tag, getpid(), text);
  fclose(log);
}

static void end(int status) {
  fflush(NULL);
  _exit(status);
}

// The stack trace as Android logs it: each line with the tag.
static void log_exception(JNIEnv *env, const char *tag, const char *head) {
  jthrowable thrown = (*env)->ExceptionOccurred(env);
  (*env)->ExceptionClear(env);
  log_line("E", tag, head);
  if (!thrown) return;
  jclass text = (*env)->FindClass(env, "java/io/StringWriter");
  jclass printer = (*env)->FindClass(env, "java/io/PrintWriter");
  jobject out = (*env)->NewObject(env, text, (*env)->GetMethodID(env, text, "<init>", "()V"));
  jmethodID make = (*env)->GetMethodID(env, printer, "<init>", "(Ljava/io/Writer;Z)V");
  jobject into = (*env)->NewObject(env, printer, make, out, JNI_TRUE);
  jclass kind = (*env)->GetObjectClass(env, thrown);
  jmethodID print =
      (*env)->GetMethodID(env, kind, "printStackTrace", "(Ljava/io/PrintWriter;)V");
  (*env)->CallVoidMethod(env, thrown, print, into);
  jmethodID read = (*env)->GetMethodID(env, text, "toString", "()Ljava/lang/String;");
  jstring said = (*env)->CallObjectMethod(env, out, read);
  char *copy = strdup((*env)->GetStringUTFChars(env, said, NULL));
  for (char *line = strtok(copy, "\n"); line; line = strtok(NULL, "\n")) log_line("E", tag, line);
}

static char *joined(const char *format, const char *first, const char *second) {
  char *text;
  if (asprintf(&text, format, first, second) < 0) end(kAborted);
  return text;
}

static JNIEnv *start_jvm(JavaVMOption *options, int count) {
  const char *jars = getenv("CLASSPATH");
  options[count++].optionString =
      joined("-Djava.class.path=%s:%s", jars ? jars : ".", ART "/framework.jar");
  static char *const fixed[] = {
      "-XX:+UseSerialGC",          "-Xmx512m",
      "-XX:-UsePerfData",          "-XX:TieredStopAtLevel=1",
      "-XX:ErrorFile=/dev/null",   "-XX:+UnlockDiagnosticVMOptions",
      "-Djava.awt.headless=true",  "-XX:-BytecodeVerificationRemote",  // jars made of dex
  };
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; ++i) {
    options[count++].optionString = fixed[i];
  }
  void *library = dlopen(ART "/lib/server/libjvm.so", RTLD_NOW | RTLD_GLOBAL);
  jint (*create)(JavaVM **, void **, void *) =
      library ? dlsym(library, "JNI_CreateJavaVM") : NULL;
  JavaVMInitArgs arguments = {JNI_VERSION_10, count, options, JNI_TRUE};
  JavaVM *vm;
  JNIEnv *env = NULL;
  if (!create || create(&vm, (void **)&env, &arguments)) {
    fprintf(stderr, "the double's JVM does not start: %s\n", library ? "" : dlerror());
    end(kAborted);
  }
  return env;
}

int main(int count, char **words) {
  JavaVMOption options[kMostOptions];
  int given = 0, at = 1;
  for (; at < count && words[at][0] == '-' && given < 16; ++at) {
    if (strncmp(words[at], "-X", 2)) options[given++].optionString = words[at];
  }
  const char *name = ++at < count ? words[at++] : NULL;  // the folder before it means nothing
  if (!name) {
    fprintf(stderr, "Error: no class name or --zygote supplied.\n");
    log_line("F", "app_process", "app_process: no class name or --zygote supplied.");
    end(kAborted);
  }
  JNIEnv *env = start_jvm(options, given);
  char *path = strdup(name);
  for (char *c = path; *c; ++c) *c = *c == '.' ? '/' : *c;
  jclass found = (*env)->FindClass(env, path);
  if (!found) {
    log_exception(env, "appproc", joined("ERROR: could not find class '%s'%s", name, ""));
    end(kAborted);
  }
  jmethodID entry = (*env)->GetStaticMethodID(env, found, "main", "([Ljava/lang/String;)V");
  if (!entry) {
    log_exception(env, "AndroidRuntime", "ERROR: could not find method main");
    end(kAborted);
  }
  jclass string = (*env)->FindClass(env, "java/lang/String");
  jobjectArray rest = (*env)->NewObjectArray(env, count - at, string, NULL);
  for (int i = at; i < count; ++i) {
    (*env)->SetObjectArrayElement(env, rest, i - at, (*env)->NewStringUTF(env, words[i]));
  }
  (*env)->CallStaticVoidMethod(env, found, entry, rest);
  if ((*env)->ExceptionCheck(env)) {
    log_exception(env, "AndroidRuntime", "FATAL EXCEPTION: main");
    end(kKilled);
  }
  end(0);
}
