#include "storage/pickle.h"

#include <bit>
#include <unordered_map>

#include "base/errors.h"

namespace magicid::storage {
namespace {

using base::UserError;

constexpr std::size_t kPickleLimit = 100'000'000, kValueLimit = 5'000'000;

// Names of opcodes that are refused, for messages: what strangers' files hold most often. All of them call or fetch something by name.
const char* refused_opcode(unsigned char code) {
  switch (code) {
    case 'i': return "INST (makes an object of any class)";
    case 'o': return "OBJ (makes an object of any class)";
    case 0x82:
    case 0x83:
    case 0x84: return "EXT (fetches a registered function)";
    case 0x92: return "NEWOBJ_EX (makes an object of any class)";
    case 0x97:
    case 0x98: return "BUFFER (fetches memory from outside of the file)";
    default: return nullptr;
  }
}

class Machine {
 public:
  Machine(std::string_view bytes, const std::string& origin, const PickleMeanings& meanings) : bytes_(bytes), origin_(origin), meanings_(meanings) {}

  Pickle run() {
    if (bytes_.size() > kPickleLimit) refuse(base::concat("it has ", bytes_.size(), " bytes, the limit is ", kPickleLimit));
    for (;;) {
      opcode_at_ = position_;
      const auto code = static_cast<unsigned char>(take(1)[0]);
      if (code == '.') {
        result_.root = pop();
        if (!stack_.empty() || !marks_.empty()) refuse("it stops with values left over");
        return std::move(result_);
      }
      step(code);
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& problem) const { throw UserError(origin_, ", byte ", opcode_at_, ": ", problem); }

  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - position_) refuse("the pickle ends in the middle of a value");
    const auto part = bytes_.substr(position_, count);
    position_ += count;
    return part;
  }

  std::uint64_t number(std::size_t count) {
    const auto part = take(count);
    std::uint64_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(part[i]);
    return value;
  }

  // Text up to a newline, as GLOBAL has it.
  std::string line() {
    const auto end = bytes_.find('\n', position_);
    if (end == std::string_view::npos) refuse("the pickle ends in the middle of a name");
    std::string text(bytes_.substr(position_, end - position_));
    position_ = end + 1;
    return text;
  }

  void count(std::size_t more) {
    if ((values_ += more) > kValueLimit) refuse(base::concat("it builds more than ", kValueLimit, " values"));
  }

  template <class T>
  void push(T value) {
    push_value(PickleValue{std::move(value)});
  }

  void push_value(PickleValue value) {
    count(1);
    if (const auto* dictionary = std::get_if<PickleDictionary>(&value.value)) count(dictionary->items.size());
    result_.values.push_back(std::move(value));
    stack_.push_back(&result_.values.back());
  }

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PicklePointer pop() {
    if (stack_.size() <= floor()) refuse("it takes a value where there is none");
    PicklePointer value = stack_.back();
    stack_.pop_back();
    return value;
  }

  PicklePointer top() const {
    if (stack_.size() <= floor()) refuse("it looks at a value where there is none");
    return stack_.back();
  }

  // Everything above the last mark, which goes too.
  std::vector<PicklePointer> pop_marked() {
    if (marks_.empty()) refuse("it looks for a mark where there is none");
    std::vector<PicklePointer> items(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }

  template <class T>
  T& expect(PicklePointer value, const char* what) const {
    T* found = std::get_if<T>(&value->value);
    if (!found) refuse(base::concat(what, " was expected"));
    return *found;
  }

  void push_tuple(std::size_t count) {
    PickleSequence tuple{true, std::vector<PicklePointer>(count)};
    for (std::size_t i = count; i-- > 0;) tuple.items[i] = pop();
    push(std::move(tuple));
  }

  void push_global(const std::string& name) {
    if (!meanings_.known(name))
      refuse("it asks for '" + name +
             "', which this program does not know and does not run. Files of weights need tensors, dictionaries, lists, texts and numbers only");
    push(PickleGlobal{name});
  }

  void set_items(const std::vector<PicklePointer>& items) {
    if (items.size() % 2 != 0) refuse("it sets a dictionary's items without a value for each key");
    auto& dictionary = expect<PickleDictionary>(top(), "a dictionary");
    for (std::size_t i = 0; i < items.size(); i += 2) dictionary.items.emplace_back(items[i], items[i + 1]);
  }

  void append(const std::vector<PicklePointer>& items) {
    auto& list = expect<PickleSequence>(top(), "a list");
    if (list.tuple) refuse("a list was expected");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }

  void memoize(std::uint64_t index) {
    // Python counts up; a far index would only be a way to ask for memory.
    if (index > kValueLimit) refuse(base::concat("it numbers a value ", index));
    memo_[index] = top();
  }

  void recall(std::uint64_t index) {
    const auto it = memo_.find(index);
    if (it == memo_.end()) refuse(base::concat("it recalls value ", index, ", which it never stored"));
    count(1);
    stack_.push_back(it->second);
  }

  void call() {
    const PicklePointer arguments = pop();
    const PicklePointer function = pop();
    const auto& tuple = expect<PickleSequence>(arguments, "a tuple of arguments");
    const auto& name = expect<PickleGlobal>(function, "a known name to call").name;
    push_value(meanings_.call(name, tuple, [this](const std::string& problem) { refuse(problem); }));
  }

  // BUILD sets an object's attributes. A state dict carries its modules' version numbers that way, which nobody needs; a scripted module its tensors.
  void build() {
    const PicklePointer state = pop();
    auto* dictionary = std::get_if<PickleDictionary>(&top()->value);
    if (!dictionary) refuse("it sets attributes of something other than a dictionary");
    if (const auto* attributes = std::get_if<PickleDictionary>(&state->value); attributes && dictionary->items.empty()) {
      count(attributes->items.size());
      dictionary->items = attributes->items;
    }
  }

  void long_integer(std::uint64_t count) {
    if (count > 8) refuse(base::concat("a whole number of ", count, " bytes; at most 8 are read"));
    std::uint64_t value = number(count);
    if (count > 0 && count < 8 && (value >> (8 * count - 1)) & 1) value |= ~std::uint64_t{0} << (8 * count);
    push(static_cast<std::int64_t>(value));
  }

  void step(unsigned char code) {
    switch (code) {
      case 0x80:  // PROTO
        if (const auto version = number(1); version < 2 || version > 5) refuse(base::concat("pickle protocol ", version, "; 2 to 5 was expected"));
        break;
      case 0x95: number(8); break;  // FRAME
      case '(': marks_.push_back(stack_.size()); break;
      case '0': pop(); break;
      case '1': pop_marked(); break;
      case 'N': push(PickleNone{}); break;
      case 0x88: push(true); break;
      case 0x89: push(false); break;
      case 'J': push(static_cast<std::int64_t>(static_cast<std::int32_t>(number(4)))); break;
      case 'K': push(static_cast<std::int64_t>(number(1))); break;
      case 'M': push(static_cast<std::int64_t>(number(2))); break;
      case 0x8a: long_integer(number(1)); break;
      case 0x8b: long_integer(number(4)); break;
      case 'G': {
        const auto part = take(8);  // big-endian
        std::uint64_t bits = 0;
        for (const char c : part) bits = (bits << 8) | static_cast<unsigned char>(c);
        push(std::bit_cast<double>(bits));
        break;
      }
      case 'X': push(std::string(take(number(4)))); break;
      case 0x8c: push(std::string(take(number(1)))); break;
      case 0x8d: push(std::string(take(number(8)))); break;
      case 'U': push(std::string(take(number(1)))); break;  // texts of Python 2
      case 'T': push(std::string(take(number(4)))); break;
      case 'B': push(PickleBytes{std::string(take(number(4)))}); break;
      case 'C': push(PickleBytes{std::string(take(number(1)))}); break;
      case 0x8e: push(PickleBytes{std::string(take(number(8)))}); break;
      case ']': push(PickleSequence{}); break;
      case ')': push(PickleSequence{true, {}}); break;
      case '}': push(PickleDictionary{}); break;
      case 'a': {
        const PicklePointer item = pop();
        append({item});
        break;
      }
      case 'e': append(pop_marked()); break;
      case 'l': push(PickleSequence{false, pop_marked()}); break;
      case 't': push(PickleSequence{true, pop_marked()}); break;
      case 0x85: push_tuple(1); break;
      case 0x86: push_tuple(2); break;
      case 0x87: push_tuple(3); break;
      case 's': {
        const PicklePointer value = pop(), key = pop();
        set_items({key, value});
        break;
      }
      case 'u': set_items(pop_marked()); break;
      case 'd': {
        const auto items = pop_marked();
        push(PickleDictionary{});
        set_items(items);
        break;
      }
      case 'q': memoize(number(1)); break;
      case 'r': memoize(number(4)); break;
      case 0x94: memoize(memo_.size()); break;
      case 'h': recall(number(1)); break;
      case 'j': recall(number(4)); break;
      case 'c': {
        const std::string module = line();
        push_global(module + "." + line());
        break;
      }
      case 0x93: {  // STACK_GLOBAL
        const PicklePointer name = pop(), module = pop();
        push_global(expect<std::string>(module, "a module's name") + "." + expect<std::string>(name, "a name"));
        break;
      }
      case 'R':
      case 0x81: call(); break;  // REDUCE and NEWOBJ: the caller decides by the name
      case 'b': build(); break;
      case 'Q': {
        const PicklePointer id = pop();
        push_value(meanings_.persistent(*id, [this](const std::string& problem) { refuse(problem); }));
        break;
      }
      default:
        if (const char* name = refused_opcode(code)) refuse(base::concat("opcode ", name, ", which files of weights do not need; it is refused"));
        refuse(base::concat("opcode ", static_cast<int>(code), ", which is none that this program reads"));
    }
  }

  std::string_view bytes_;
  const std::string& origin_;
  const PickleMeanings& meanings_;
  Pickle result_;
  std::size_t position_ = 0, opcode_at_ = 0, values_ = 0;
  std::vector<PicklePointer> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PicklePointer> memo_;
};

}  // namespace

Pickle read_pickle(std::string_view bytes, const std::string& origin, const PickleMeanings& meanings) { return Machine(bytes, origin, meanings).run(); }

}  // namespace magicid::storage
