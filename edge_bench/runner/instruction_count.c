/* A plugin for user-mode QEMU (API 1, QEMU 4.2 to 8.x): the guest's instructions between marks.
 *
 * A mark is write(-1, ..., 1), which does nothing: the runner sets one before and one after each
 * inference. The plugin's interface is declared here, so that no header package is needed.
 * Output (out=FILE): {"each": [instructions of each inference], "CLASS": sum over all, ...} */

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct block;
struct instruction;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
extern size_t qemu_plugin_tb_n_insns(const struct block *);
extern struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
extern const void *qemu_plugin_insn_data(const struct instruction *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id,
                                                 void (*)(plugin_id, unsigned, int64_t, uint64_t,
                                                          uint64_t, uint64_t, uint64_t, uint64_t,
                                                          uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { INLINE_ADD = 0, SYSCALL_WRITE = 64 };
enum { ALL, DOT_PRODUCT, MULTIPLY_ADD_INT8, MULTIPLY_ADD_FLOAT, LOAD_STORE, CLASSES };
static const char *const names[CLASSES] = {"all", "dot_product", "multiply_add_int8",
                                           "multiply_add_float", "load_store"};
static uint64_t counts[CLASSES], at_mark[CLASSES], sums[CLASSES];
static uint64_t *each;
static size_t inferences, room;
static bool inside;
static FILE *output;

static void classify(uint32_t word, uint64_t found[CLASSES]) {
  found[ALL]++;
  if ((word >> 25 & 5) == 4) found[LOAD_STORE]++;
  /* SDOT and UDOT, by vector and by element; SMMLA, UMMLA and USMMLA */
  if ((word & 0x9fe0fc00) == 0x0e809400 || (word & 0x9fc0f400) == 0x0f80e000 ||
      (word & 0xdfe0f400) == 0x4e80a400)
    found[DOT_PRODUCT]++;
  /* SMLAL and SMLAL2, by vector and by element */
  if ((word & 0x9f20fc00) == 0x0e208000 || (word & 0x9f00f400) == 0x0f002000)
    found[MULTIPLY_ADD_INT8]++;
  /* FMLA, by vector and by element */
  if ((word & 0xbfa0fc00) == 0x0e20cc00 || (word & 0xbf80f400) == 0x0f801000)
    found[MULTIPLY_ADD_FLOAT]++;
}

static void translated(plugin_id id, struct block *block) {
  uint64_t found[CLASSES] = {0};
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
    classify(word, found);
  }
  for (int i = 0; i < CLASSES; i++)
    if (found[i])
      qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD, &counts[i], found[i]);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != SYSCALL_WRITE || (int32_t)a1 != -1) return;
  inside = !inside;
  if (inside) {
    memcpy(at_mark, counts, sizeof counts);
    return;
  }
  if (inferences == room) {
    room = room ? 2 * room : 64;
    each = realloc(each, room * sizeof *each);
    if (!each) abort();
  }
  each[inferences++] = counts[ALL] - at_mark[ALL];
  for (int i = 0; i < CLASSES; i++) sums[i] += counts[i] - at_mark[i];
}

static void ended(plugin_id id, void *nothing) {
  (void)id, (void)nothing;
  fprintf(output, "{\"each\": [");
  for (size_t i = 0; i < inferences; i++) fprintf(output, "%s%" PRIu64, i ? ", " : "", each[i]);
  fprintf(output, "]");
  for (int i = 0; i < CLASSES; i++) fprintf(output, ", \"%s\": %" PRIu64, names[i], sums[i]);
  fprintf(output, "}\n");
  fclose(output);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info,
                                                               int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "out=", 4)) output = fopen(argv[i] + 4, "w");
  if (!output) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
