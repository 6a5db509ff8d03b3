// Runs one model on a board or host: the score of every picture, or the time of every inference.
//
// The inference library is loaded at run time, and the few functions of its C interface that are
// needed are declared here, so that one binary goes with any version and nothing is linked:
//   libLiteRt.so              exports LiteRtCreateCompiledModel
//   libtensorflowlite_c.so    exports TfLiteInterpreterCreate; its XNNPACK delegate is created here,
//                             because that interface never does it by itself
//
// Pictures come as bytes, N x size x size x 3. A table says what the model's input tensor holds for
// each byte of each channel, so that the contract is applied by the code that owns it. Outputs go
// back raw. Result: one JSON object, under a temporary name until it is whole.
//
// Exit codes: 2 arguments, 3 library, 4 model, 5 pictures, 6 inference, 7 result, 8 processors.
// Failures print {"stage": ..., "message": ...} on stderr.

#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

enum Exit { kArguments = 2, kLibrary, kModel, kPictures, kInference, kResult, kProcessors };
const char* const kStages[] = {"",         "",          "arguments", "library",   "model",
                               "pictures", "inference", "result",    "processors"};
// Element types, numbered alike in both libraries.
enum Type { kFloat32 = 1, kUint8 = 3, kInt8 = 9 };

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c < 32 || c > 126 ? '?' : static_cast<char>(c);
  }
  return out + '"';
}

[[noreturn]] void Fail(Exit code, const std::string& message) {
  std::fprintf(stderr, "{\"stage\": \"%s\", \"message\": %s}\n", kStages[code],
               Quoted(message).c_str());
  std::fflush(stderr);
  _exit(code);
}

double Microseconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}
double Now() { return Microseconds(CLOCK_MONOTONIC); }

size_t SizeOf(int type) { return type == kFloat32 ? 4 : 1; }
const char* NameOf(int type) {
  return type == kFloat32 ? "float32" : type == kUint8 ? "uint8" : type == kInt8 ? "int8" : "other";
}

// ---------------------------------------------------------------- libraries

struct Tensor {
  int type = 0;
  size_t elements = 0;
  float scale = 0;
  long zero_point = 0;
  size_t bytes() const { return elements * SizeOf(type); }
};

class Library {
 public:
  explicit Library(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW)) {
    if (!handle_) Fail(kLibrary, dlerror());
  }
  bool Has(const char* name) const { return dlsym(handle_, name) != nullptr; }
  template <typename Function>
  void Bind(Function& function, const char* name) const {
    function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (!function) Fail(kLibrary, std::string("the library has no ") + name);
  }

 private:
  void* handle_;
};
// Binds a pointer that is named like the function.
#define BIND(library, result, name, ...) \
  result (*name)(__VA_ARGS__) = nullptr; \
  (library).Bind(name, #name)

struct Engine {
  Tensor input, output;
  int fully_delegated = -1;  // 1 yes, 0 no, -1 the library does not say
  virtual ~Engine() = default;
  virtual const char* name() const = 0;
  virtual void Open(const Library&, const char* model, int threads, bool delegate) = 0;
  virtual void SetInput(const void* data) = 0;
  virtual int Invoke() = 0;
  virtual void GetOutput(void* data) = 0;
};

struct TfLiteEngine : Engine {
  struct Quantization {
    float scale;
    int32_t zero_point;
  };
  struct XnnpackOptions {  // begins with these two in every version; the rest is left as filled in
    int32_t num_threads;
    uint32_t flags;
    char rest[1024];
  };
  enum { kSigned8Bit = 1, kUnsigned8Bit = 2 };
  void* interpreter = nullptr;
  void* in = nullptr;
  const void* out = nullptr;
  int (*invoke)(void*) = nullptr;
  int (*copy_in)(void*, const void*, size_t) = nullptr;
  int (*copy_out)(const void*, void*, size_t) = nullptr;

  const char* name() const override { return "tflite"; }

  void Open(const Library& lib, const char* model, int threads, bool delegate) override {
    BIND(lib, void*, TfLiteModelCreateFromFile, const char*);
    BIND(lib, void*, TfLiteInterpreterOptionsCreate, );
    BIND(lib, void, TfLiteInterpreterOptionsSetNumThreads, void*, int32_t);
    BIND(lib, void, TfLiteInterpreterOptionsAddDelegate, void*, void*);
    BIND(lib, void*, TfLiteInterpreterCreate, const void*, const void*);
    BIND(lib, int, TfLiteInterpreterAllocateTensors, void*);
    BIND(lib, void*, TfLiteInterpreterGetInputTensor, const void*, int32_t);
    BIND(lib, const void*, TfLiteInterpreterGetOutputTensor, const void*, int32_t);
    lib.Bind(invoke, "TfLiteInterpreterInvoke");
    lib.Bind(copy_in, "TfLiteTensorCopyFromBuffer");
    lib.Bind(copy_out, "TfLiteTensorCopyToBuffer");
    void* file = TfLiteModelCreateFromFile(model);
    if (!file) Fail(kModel, std::string("the library does not open ") + model);
    void* options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(options, threads);
    if (delegate) TfLiteInterpreterOptionsAddDelegate(options, Xnnpack(lib, threads));
    interpreter = TfLiteInterpreterCreate(file, options);
    if (!interpreter) Fail(kModel, "the library makes no interpreter for the model");
    if (TfLiteInterpreterAllocateTensors(interpreter)) Fail(kModel, "tensors cannot be allocated");
    in = TfLiteInterpreterGetInputTensor(interpreter, 0);
    out = TfLiteInterpreterGetOutputTensor(interpreter, 0);
    if (!in || !out) Fail(kModel, "the model has no input or no output");
    input = Describe(lib, in);
    output = Describe(lib, out);
  }
  void SetInput(const void* data) override {
    if (copy_in(in, data, input.bytes())) Fail(kPictures, "the input tensor takes no copy");
  }
  int Invoke() override { return invoke(interpreter); }
  void GetOutput(void* data) override {
    if (copy_out(out, data, output.bytes())) Fail(kInference, "the output tensor gives no copy");
  }

 private:
  static void* Xnnpack(const Library& lib, int threads) {
    BIND(lib, XnnpackOptions, TfLiteXNNPackDelegateOptionsDefault, );
    BIND(lib, void*, TfLiteXNNPackDelegateCreate, const XnnpackOptions*);
    static XnnpackOptions options = TfLiteXNNPackDelegateOptionsDefault();
    options.num_threads = threads;
    options.flags |= kSigned8Bit | kUnsigned8Bit;  // left off by default in some builds
    void* delegate = TfLiteXNNPackDelegateCreate(&options);
    if (!delegate) Fail(kLibrary, "the library makes no XNNPACK delegate");
    return delegate;
  }
  static Tensor Describe(const Library& lib, const void* tensor) {
    BIND(lib, int, TfLiteTensorType, const void*);
    BIND(lib, size_t, TfLiteTensorByteSize, const void*);
    BIND(lib, Quantization, TfLiteTensorQuantizationParams, const void*);
    Quantization quantization = TfLiteTensorQuantizationParams(tensor);
    Tensor found;
    found.type = TfLiteTensorType(tensor);
    found.elements = TfLiteTensorByteSize(tensor) / SizeOf(found.type);
    found.scale = quantization.scale;
    found.zero_point = quantization.zero_point;
    return found;
  }
};

struct LiteRtEngine : Engine {
  struct Layout {
    unsigned rank : 7, has_strides : 1;
    int32_t sizes[8];
    uint32_t strides[8];
  };
  struct TensorType {
    int32_t element;
    Layout layout;
  };
  struct Quantization {
    float scale;
    int64_t zero_point;
  };
  static_assert(sizeof(Layout) == 68 && sizeof(TensorType) == 72 && sizeof(Quantization) == 16,
                "as litert/c declares them");
  enum { kCpu = 1, kPerTensor = 1, kRead = 0, kWrite = 1 };
  void *model = nullptr, *in = nullptr, *out = nullptr;
  int (*run)(void*, size_t, size_t, void**, size_t, void**) = nullptr;
  int (*lock)(void*, void**, int) = nullptr;
  int (*unlock)(void*) = nullptr;

  const char* name() const override { return "litert"; }

  void Open(const Library& lib, const char* path, int threads, bool delegate) override {
    BIND(lib, int, LiteRtCreateEnvironment, int, const void*, void**);
    BIND(lib, int, LiteRtCreateModelFromFile, void*, const char*, void**);
    BIND(lib, int, LiteRtCreateCompiledModel, void*, void*, void*, void**);
    lib.Bind(run, "LiteRtRunCompiledModel");
    lib.Bind(lock, "LiteRtLockTensorBuffer");
    lib.Bind(unlock, "LiteRtUnlockTensorBuffer");
    void *environment = nullptr, *file = nullptr;
    Check(LiteRtCreateEnvironment(0, nullptr, &environment), "create its environment");
    Check(LiteRtCreateModelFromFile(environment, path, &file), "open the model");
    void* options = Options(lib, threads, delegate);
    Check(LiteRtCreateCompiledModel(environment, file, options, &model), "compile the model");
    Describe(lib, file, environment);
    // Not in every version; -1 stays where nobody says.
    if (lib.Has("LiteRtCompiledModelIsFullyAccelerated")) {
      BIND(lib, int, LiteRtCompiledModelIsFullyAccelerated, void*, bool*);
      bool whole = false;
      if (!LiteRtCompiledModelIsFullyAccelerated(model, &whole)) fully_delegated = whole;
    }
  }
  void SetInput(const void* data) override { Copy(in, kWrite, const_cast<void*>(data)); }
  int Invoke() override { return run(model, 0, 1, &in, 1, &out); }
  void GetOutput(void* data) override { Copy(out, kRead, data); }

 private:
  static void Check(int status, const char* what) {
    if (status) {
      Fail(kModel, std::string("LiteRT does not ") + what + ": status " + std::to_string(status));
    }
  }
  void Copy(void* buffer, int mode, void* data) {
    void* address = nullptr;
    if (lock(buffer, &address, mode)) Fail(kInference, "a tensor buffer cannot be locked");
    if (mode == kWrite) std::memcpy(address, data, input.bytes());
    if (mode == kRead) std::memcpy(data, address, output.bytes());
    if (unlock(buffer)) Fail(kInference, "a tensor buffer cannot be unlocked");
  }
  static void* Options(const Library& lib, int threads, bool delegate) {
    BIND(lib, int, LiteRtCreateOptions, void**);
    BIND(lib, int, LiteRtSetOptionsHardwareAccelerators, void*, int);
    BIND(lib, int, LiteRtCreateOpaqueOptions, const char*, void*, void (*)(void*), void**);
    BIND(lib, int, LiteRtAddOpaqueOptions, void*, void*);
    // LiteRT 2.1 refuses kernel_mode: it is said only where it differs from the default.
    std::string text = "num_threads = " + std::to_string(threads) + "\n";
    if (!delegate) text += "kernel_mode = \"builtin\"\n";
    void *options = nullptr, *opaque = nullptr;
    Check(LiteRtCreateOptions(&options), "create options");
    Check(LiteRtSetOptionsHardwareAccelerators(options, kCpu), "choose the CPU");
    Check(LiteRtCreateOpaqueOptions("xnnpack", strdup(text.c_str()), free, &opaque), "take options");
    Check(LiteRtAddOpaqueOptions(options, opaque), "take options");
    return options;
  }
  void Describe(const Library& lib, void* file, void* environment) {
    using Get = int (*)(void*, size_t, size_t, void**);
    using Index = int (*)(void*, size_t, void**);
    Get in_needs, out_needs;
    Index in_tensor, out_tensor;
    BIND(lib, int, LiteRtGetModelSignature, void*, size_t, void**);
    lib.Bind(in_tensor, "LiteRtGetSignatureInputTensorByIndex");
    lib.Bind(out_tensor, "LiteRtGetSignatureOutputTensorByIndex");
    lib.Bind(in_needs, "LiteRtGetCompiledModelInputBufferRequirements");
    lib.Bind(out_needs, "LiteRtGetCompiledModelOutputBufferRequirements");
    void *signature = nullptr, *tensor = nullptr, *needs = nullptr;
    Check(LiteRtGetModelSignature(file, 0, &signature), "give a signature");
    Check(in_tensor(signature, 0, &tensor), "give an input");
    Check(in_needs(model, 0, 0, &needs), "tell its input buffer");
    input = Buffer(lib, environment, tensor, needs, &in);
    Check(out_tensor(signature, 0, &tensor), "give an output");
    Check(out_needs(model, 0, 0, &needs), "tell its output buffer");
    output = Buffer(lib, environment, tensor, needs, &out);
  }
  static Tensor Buffer(const Library& lib, void* environment, void* tensor, void* needs,
                       void** buffer) {
    BIND(lib, int, LiteRtGetRankedTensorType, void*, TensorType*);
    BIND(lib, int, LiteRtGetQuantizationTypeId, void*, int*);
    BIND(lib, int, LiteRtGetPerTensorQuantization, void*, Quantization*);
    BIND(lib, int, LiteRtCreateManagedTensorBufferFromRequirements, void*, const TensorType*, void*,
         void**);
    TensorType type;
    Check(LiteRtGetRankedTensorType(tensor, &type), "tell a tensor's shape");
    Tensor found;
    found.type = type.element;
    found.elements = 1;
    for (unsigned axis = 0; axis < type.layout.rank; ++axis) {
      found.elements *= std::max(1, type.layout.sizes[axis]);
    }
    int kind = 0;
    Quantization quantization;
    if (!LiteRtGetQuantizationTypeId(tensor, &kind) && kind == kPerTensor &&
        !LiteRtGetPerTensorQuantization(tensor, &quantization)) {
      found.scale = quantization.scale;
      found.zero_point = static_cast<long>(quantization.zero_point);
    }
    Check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, buffer),
          "make a buffer");
    return found;
  }
};

// ---------------------------------------------------------------- pictures and outputs

std::vector<uint8_t> ReadFile(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) Fail(kPictures, path + ": " + std::strerror(errno));
  std::vector<uint8_t> data;
  uint8_t part[65536];
  for (size_t got; (got = std::fread(part, 1, sizeof part, file)) > 0;) {
    data.insert(data.end(), part, part + got);
  }
  if (std::ferror(file)) Fail(kPictures, path + " cannot be read");
  std::fclose(file);
  return data;
}

class Pictures {
 public:
  Pictures(const std::string& path, const std::string& table, const Tensor& tensor, bool planar)
      : bytes_(ReadFile(path)), table_(ReadFile(table)), tensor_(tensor), planar_(planar) {
    size_t entries = 3 * 256 * SizeOf(tensor.type);
    if (table_.size() != entries) {
      Fail(kPictures, "the table has " + std::to_string(table_.size()) + " bytes, " +
                          NameOf(tensor.type) + " needs " + std::to_string(entries));
    }
    if (bytes_.empty() || bytes_.size() % tensor.elements) {
      Fail(kPictures, std::to_string(bytes_.size()) + " bytes are no multiple of the " +
                          std::to_string(tensor.elements) + " the model takes");
    }
    tensor_bytes_.resize(tensor.bytes());
  }
  size_t count() const { return bytes_.size() / tensor_.elements; }

  const void* Get(size_t number) {
    const uint8_t* picture = &bytes_[number * tensor_.elements];
    if (tensor_.type == kFloat32) {
      Fill(picture, reinterpret_cast<const uint32_t*>(table_.data()),
           reinterpret_cast<uint32_t*>(tensor_bytes_.data()));
    } else {
      Fill(picture, table_.data(), tensor_bytes_.data());
    }
    return tensor_bytes_.data();
  }

 private:
  template <typename Element>
  void Fill(const uint8_t* picture, const Element* table, Element* tensor) const {
    size_t area = tensor_.elements / 3;
    for (size_t i = 0; i < tensor_.elements; ++i) {
      size_t channel = i % 3;
      tensor[planar_ ? channel * area + i / 3 : i] = table[channel * 256 + picture[i]];
    }
  }
  std::vector<uint8_t> bytes_, table_, tensor_bytes_;
  Tensor tensor_;
  bool planar_;
};

std::string Output(Engine& engine) {
  std::vector<uint8_t> raw(engine.output.bytes());
  engine.GetOutput(raw.data());
  char text[32];
  if (engine.output.type == kFloat32) {
    float value;
    std::memcpy(&value, raw.data(), sizeof value);
    // JSON has no NaN and no infinity; a string is refused by the reader with its name.
    std::snprintf(text, sizeof text, value - value == 0 ? "%.9g" : "\"%g\"", value);
  } else {
    int value = engine.output.type == kInt8 ? static_cast<int8_t>(raw[0]) : raw[0];
    std::snprintf(text, sizeof text, "%d", value);
  }
  return text;
}

// ---------------------------------------------------------------- what the system says

// The number behind `key` in a file such as /proc/self/status; -1 where there is none.
long ReadNumber(const char* path, const char* key) {
  long found = -1;
  if (FILE* file = std::fopen(path, "r")) {
    char line[256];
    while (found < 0 && std::fgets(line, sizeof line, file)) {
      if (!std::strncmp(line, key, std::strlen(key))) found = std::atol(line + std::strlen(key));
    }
    std::fclose(file);
  }
  return found;
}

std::string ReadWord(const char* path) {
  char word[128] = "";
  if (FILE* file = std::fopen(path, "r")) {
    if (std::fscanf(file, "%127s", word) != 1) word[0] = 0;
    std::fclose(file);
  }
  return word;
}

const char* Architecture() {
#if defined(__aarch64__)
  return "aarch64";
#elif defined(__arm__)
  return "armv7";
#elif defined(__x86_64__)
  return "x86_64";
#else
  return "other";
#endif
}

// User-mode QEMU may show in the process's name; its timer runs at 62.5 MHz, as no chip's does.
const char* Emulator() {
  bool qemu = ReadWord("/proc/self/comm").rfind("qemu", 0) == 0;
#if defined(__aarch64__)
  uint64_t timer_hertz;
  __asm__("mrs %0, cntfrq_el0" : "=r"(timer_hertz));
  qemu = qemu || timer_hertz == 62500000;
#endif
  return qemu ? "QEMU" : "";
}

std::string Frequencies(const std::vector<int>& cpus) {
  std::string list;
  for (int cpu : cpus) {
    std::string path =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpufreq/scaling_cur_freq";
    list += (list.empty() ? "" : ", ") + std::to_string(ReadNumber(path.c_str(), ""));
  }
  return "[" + list + "]";
}

// ---------------------------------------------------------------- arguments

struct Arguments {
  std::map<std::string, std::string> given;
  Arguments(int argc, char** argv) {
    static const char* const kKnown[] = {
        "--lib",      "--model",   "--pictures", "--table",   "--layout",  "--out",
        "--run-id",   "--mode",    "--threads",  "--delegate", "--cpus",   "--warm-up",
        "--runs",     "--seconds", "--start",    "--count",    "--limit-s", "--marks"};
    for (int i = 1; i < argc; i += 2) {
      bool known = std::any_of(std::begin(kKnown), std::end(kKnown),
                               [&](const char* name) { return !std::strcmp(name, argv[i]); });
      if (!known || i + 1 == argc) Fail(kArguments, std::string("unknown or alone: ") + argv[i]);
      given[argv[i]] = argv[i + 1];
    }
  }
  std::string Text(const char* name, const char* otherwise = nullptr) const {
    auto found = given.find(name);
    if (found != given.end()) return found->second;
    if (!otherwise) Fail(kArguments, std::string(name) + " is missing");
    return otherwise;
  }
  double Number(const char* name, const char* otherwise) const {
    std::string text = Text(name, otherwise);
    char* end = nullptr;
    double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end || value < 0) Fail(kArguments, std::string(name) + " " + text);
    return value;
  }
};

// "4,5,6": the processors to stay on.
std::vector<int> Pin(const std::string& list) {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const char* at = list.c_str(); *at;) {
    char* end = nullptr;
    long cpu = std::strtol(at, &end, 10);
    if (end == at || cpu < 0 || cpu >= CPU_SETSIZE) Fail(kArguments, "--cpus " + list);
    CPU_SET(cpu, &set);
    cpus.push_back(static_cast<int>(cpu));
    at = *end == ',' ? end + 1 : end;
  }
  if (!cpus.empty() && sched_setaffinity(0, sizeof set, &set)) {
    Fail(kProcessors, "cannot stay on " + list + ": " + std::strerror(errno));
  }
  return cpus;
}

// ---------------------------------------------------------------- the two passes

struct Measured {
  std::vector<std::string> outputs;
  std::vector<double> samples_us;
  double elapsed_us = 0, cpu_us = 0;
  long involuntary_switches = 0;
};

void Invoke(Engine& engine) {
  if (int status = engine.Invoke()) Fail(kInference, "status " + std::to_string(status));
}

std::vector<std::string> Score(Engine& engine, Pictures& pictures, const Arguments& args) {
  size_t start = args.Number("--start", "0"), count = args.Number("--count", "1e9");
  std::vector<std::string> outputs;
  for (size_t i = start; i < pictures.count() && i - start < count; ++i) {
    engine.SetInput(pictures.Get(i));
    Invoke(engine);
    outputs.push_back(Output(engine));
  }
  return outputs;
}

// A system call that fails at once and that a tracer or an emulator's plugin can see.
void Mark(bool wanted) {
  char nothing = 0;
  if (wanted && write(-1, &nothing, 1) == 0) return;
}

void Time(Engine& engine, Pictures& pictures, const Arguments& args, Measured& measured) {
  size_t warm_up = args.Number("--warm-up", "10"), runs = args.Number("--runs", "100");
  double seconds = args.Number("--seconds", "0");  // at least so many runs, and at least so long
  bool marks = args.Number("--marks", "0") > 0;
  for (size_t i = 0; i < warm_up; ++i) {
    engine.SetInput(pictures.Get(i % pictures.count()));
    Invoke(engine);
  }
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  double start = Now(), cpu = Microseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (size_t i = 0; i < runs || Now() - start < seconds * 1e6; ++i) {
    engine.SetInput(pictures.Get(i % pictures.count()));
    Mark(marks);
    double from = Now();
    int status = engine.Invoke();
    double until = Now();
    Mark(marks);
    if (status) Fail(kInference, "status " + std::to_string(status));
    measured.samples_us.push_back(until - from);
  }
  measured.elapsed_us = Now() - start;
  measured.cpu_us = Microseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  getrusage(RUSAGE_SELF, &after);
  measured.involuntary_switches = after.ru_nivcsw - before.ru_nivcsw;
}

// ---------------------------------------------------------------- the result

class Result {
 public:
  explicit Result(const std::string& path) : path_(path), part_(path + ".part") {
    file_ = std::fopen(part_.c_str(), "w");
    if (!file_) Fail(kResult, part_ + ": " + std::strerror(errno));
    std::fputs("{\"schema\": 1", file_);
  }
  void Raw(const char* name, const std::string& value) {
    std::fprintf(file_, ",\n\"%s\": %s", name, value.c_str());
  }
  void Text(const char* name, const std::string& value) { Raw(name, Quoted(value)); }
  void Number(const char* name, double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.10g", value);
    Raw(name, text);
  }
  void Shape(const char* name, const Tensor& tensor) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "{\"dtype\": \"%s\", \"elements\": %zu, \"scale\": %.9g, \"zero_point\": %ld}",
                  NameOf(tensor.type), tensor.elements, tensor.scale, tensor.zero_point);
    Raw(name, text);
  }
  void Finish() {
    std::fputs("}\n", file_);
    bool written = std::fflush(file_) == 0 && !std::ferror(file_) && fsync(fileno(file_)) == 0;
    if (!written || std::fclose(file_)) Fail(kResult, part_ + ": " + std::strerror(errno));
    if (std::rename(part_.c_str(), path_.c_str())) Fail(kResult, std::strerror(errno));
  }

 private:
  std::string path_, part_;
  FILE* file_;
};

std::string Joined(const std::vector<std::string>& values) {
  std::string list;
  for (const std::string& value : values) list += (list.empty() ? "" : ",") + value;
  return "[" + list + "]";
}

std::vector<std::string> Texts(const std::vector<double>& values) {
  std::vector<std::string> texts;
  char text[32];
  for (double value : values) {
    std::snprintf(text, sizeof text, "%.3f", value);
    texts.push_back(text);
  }
  return texts;
}

}  // namespace

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // an unplugged device must not go on measuring by itself
  Arguments args(argc, argv);
  alarm(static_cast<unsigned>(args.Number("--limit-s", "600")));
  std::string mode = args.Text("--mode"), delegate = args.Text("--delegate", "xnnpack");
  if (mode != "score" && mode != "time") Fail(kArguments, "--mode " + mode);
  if (delegate != "xnnpack" && delegate != "none") Fail(kArguments, "--delegate " + delegate);
  std::vector<int> cpus = Pin(args.Text("--cpus", ""));
  int threads = static_cast<int>(args.Number("--threads", "1"));
  std::string frequencies = Frequencies(cpus);

  double begin = Now();
  Library library(args.Text("--lib"));
  double loaded = Now();
  Engine* engine = nullptr;
  if (library.Has("LiteRtCreateCompiledModel")) {
    engine = new LiteRtEngine;
  } else if (library.Has("TfLiteInterpreterCreate")) {
    engine = new TfLiteEngine;
  } else {
    Fail(kLibrary, "the library exports neither LiteRT's nor TFLite's C interface");
  }
  engine->Open(library, args.Text("--model").c_str(), threads, delegate == "xnnpack");
  double opened = Now();
  for (const Tensor* tensor : {&engine->input, &engine->output}) {
    if (!std::strcmp(NameOf(tensor->type), "other")) {
      Fail(kModel, "a tensor of type " + std::to_string(tensor->type));
    }
  }
  Pictures pictures(args.Text("--pictures"), args.Text("--table"), engine->input,
                    args.Text("--layout", "NHWC") == "NCHW");

  engine->SetInput(pictures.Get(0));
  double from = Now();
  Invoke(*engine);
  double first = Now() - from;
  Measured measured;
  if (mode == "time") Time(*engine, pictures, args, measured);
  measured.outputs = Score(*engine, pictures, args);  // also what was timed proves its scores

  Result result(args.Text("--out"));
  result.Text("run_id", args.Text("--run-id"));
  result.Text("mode", mode);
  result.Text("engine", engine->name());
  result.Text("architecture", Architecture());
  result.Text("emulator", Emulator());
  result.Text("boot_id", ReadWord("/proc/sys/kernel/random/boot_id"));
  result.Text("delegate", delegate);
  result.Raw("fully_delegated", engine->fully_delegated < 0    ? "null"
                                : engine->fully_delegated ? "true"
                                                               : "false");
  result.Number("threads", threads);
  result.Shape("input", engine->input);
  result.Shape("output", engine->output);
  result.Number("library_us", loaded - begin);
  result.Number("init_us", opened - loaded);
  result.Number("first_us", first);
  result.Raw("outputs", Joined(measured.outputs));
  result.Raw("samples_us", Joined(Texts(measured.samples_us)));
  result.Number("elapsed_us", measured.elapsed_us);
  result.Number("cpu_us", measured.cpu_us);
  result.Number("involuntary_switches", measured.involuntary_switches);
  result.Number("peak_kb", ReadNumber("/proc/self/status", "VmHWM:"));
  result.Number("pss_kb", ReadNumber("/proc/self/smaps_rollup", "Pss:"));
  result.Raw("khz_before", frequencies);
  result.Raw("khz_after", Frequencies(cpus));
  result.Number("total_us", Now() - begin);
  result.Finish();
  _exit(0);  // libraries' destructors are not what is measured
}
