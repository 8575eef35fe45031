// A device named by PyTorch's key PrivateUse1, in host memory. See `fake.py` beside this file.
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/TensorFactories.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/extension.h>
#include <torch/library.h>

namespace {

using c10::DeviceType;
constexpr auto kFake = DeviceType::PrivateUse1;
const c10::Device fake_device(kFake, 0);

struct Guard final : c10::impl::NoOpDeviceGuardImpl<kFake> {
  c10::Device exchangeDevice(c10::Device) const override { return fake_device; }
  c10::Device getDevice() const override { return fake_device; }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, fake_device);
  }
  c10::Stream getDefaultStream(c10::Device) const override { return getStream(fake_device); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override {
    return getStream(fake_device);
  }
  void synchronizeDevice(c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::Device getDeviceFromPtr(void*) const override { return fake_device; }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    auto fresh = storage.allocator()->allocate(bytes);
    std::memcpy(fresh.get(), storage.data(), std::min(bytes, storage.nbytes()));
    storage.set_data_ptr(std::move(fresh));
    storage.set_nbytes(bytes);
  }
};

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes ? c10::alloc_cpu(bytes) : nullptr;
    return {data, data, &c10::free_cpu, fake_device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};
Memory memory;
REGISTER_ALLOCATOR(kFake, &memory)

// The same memory, sizes and strides under another device; keeps the owner's storage alive.
at::Tensor seen_on(c10::Device device, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.layout() == c10::kStrided, "only strided tensors are on the fake device");
  const auto& owner = tensor.storage();
  auto* keep = new c10::Storage(owner);
  c10::DataPtr data(
      owner.mutable_data(), keep, [](void* p) { delete static_cast<c10::Storage*>(p); }, device);
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), owner.nbytes(), std::move(data), nullptr, false);
  c10::DispatchKeySet keys(
      device.is_cpu() ? c10::DispatchKey::CPU : c10::DispatchKey::PrivateUse1);
  auto other = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, tensor.dtype());
  other.unsafeGetTensorImpl()->set_sizes_and_strides(
      tensor.sizes(), tensor.strides(), tensor.storage_offset());
  return other;
}

bool on_fake(const at::Tensor& tensor) { return tensor.device().type() == kFake; }

// What a CUDA kernel says of a CPU tensor that is not a scalar, among the device's tensors.
void refuse_cpu(const at::Tensor& tensor, const c10::OperatorHandle& op) {
  TORCH_CHECK(
      !tensor.defined() || on_fake(tensor) || tensor.dim() == 0,
      "Expected all tensors to be on the same device, but found at least two devices, ",
      fake_device, " and ", tensor.device(), "! (", op.schema().name(), ", shape ",
      tensor.sizes(), ")");
}

template <class F>
void for_each_tensor(const c10::IValue& value, F&& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) for_each_tensor(item, visit);
  }
}

template <class F>
c10::IValue map_tensors(const c10::IValue& value, F&& change) {
  if (value.isTensor()) return value.toTensor().defined() ? change(value.toTensor()) : value;
  if (!value.isList()) return value;
  auto list = value.toList().copy();
  for (size_t i = 0; i < list.size(); ++i) {
    list.set(i, map_tensors(value.toListRef()[i], change));
  }
  return list;
}

// Runs the CPU's kernel on the device's tensors, in place; refuses tensors of mixed devices.
void on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size(), first = stack->size() - count;
  // Of x[index], as on CUDA: the only dimensioned tensors that may be on the CPU.
  auto is_index = [&](const c10::Argument& argument) {
    return argument.name() == "indices" && (schema.name() == "aten::index" ||
        schema.name() == "aten::_index_put_impl_");
  };
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs;  // of the device, as the CPU sees it
  auto to_cpu = [&](const at::Tensor& tensor) -> at::Tensor {
    if (!on_fake(tensor)) return tensor;
    for (const auto& [own, seen] : pairs) {
      if (own.is_same(tensor)) return seen;
    }
    // One that an operator may resize gets memory of its own.
    auto seen = tensor.storage().nbytes() == 0
        ? at::empty(tensor.sizes(), tensor.options().device(c10::kCPU))
        : seen_on(c10::kCPU, tensor);
    pairs.emplace_back(tensor, seen);
    return seen;
  };
  for (size_t i = 0; i < count; ++i) {
    auto& value = (*stack)[first + i];
    if (!is_index(schema.arguments()[i])) {
      for_each_tensor(value, [&](const at::Tensor& tensor) { refuse_cpu(tensor, op); });
    }
    TORCH_CHECK(
        !value.isGenerator() || value.toGenerator().device().type() == kFake,
        "Expected a '", fake_device.type(), "' device type for generator but found 'cpu'");
    value = value.isDevice() ? c10::IValue(c10::Device(c10::kCPU)) : map_tensors(value, to_cpu);
  }
  {
    c10::impl::ExcludeDispatchKeyGuard below(c10::autograd_dispatch_keyset);
    at::AutoDispatchBelowADInplaceOrView inplace;
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  for (const auto& [own, seen] : pairs) {
    if (seen.sizes() != own.sizes()) {  // resized by the operator
      own.resize_(seen.sizes());
      seen_on(c10::kCPU, own).copy_(seen);
    }
  }
  auto to_fake = [&](const at::Tensor& tensor) -> at::Tensor {
    for (const auto& [own, seen] : pairs) {
      if (seen.is_same(tensor)) return own;
    }
    return seen_on(fake_device, tensor);
  };
  for (size_t i = stack->size() - schema.returns().size(); i < stack->size(); ++i) {
    (*stack)[i] = map_tensors((*stack)[i], to_fake);
  }
}

at::Tensor as_cpu(const at::Tensor& tensor) {
  return on_fake(tensor) ? seen_on(c10::kCPU, tensor) : tensor;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  as_cpu(to).copy_(as_cpu(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Tensor empty(
    c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
    std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(
      size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype));
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("resize_", TORCH_FN(at::native::resize_));
  m.impl("set_.source_Storage", TORCH_FN(at::native::set_));
  m.impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
  m.impl("set_.source_Tensor", TORCH_FN(at::native::set_tensor_));
}

// Operators whose composite kernel would be preferred to the fallback, and rounds otherwise: those
// that have a kernel of the CPU's, and convolutions, which choose theirs by the device.
void prefer_cpu_kernels() {
  static torch::Library library(
      torch::Library::IMPL, "aten", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    auto has = [op = *dispatcher.findOp(name)](c10::DispatchKey key) {
      return op.hasKernelForDispatchKey(key);
    };
    const bool composite = has(c10::DispatchKey::CompositeExplicitAutograd) ||
        has(c10::DispatchKey::CompositeImplicitAutograd);
    const bool convolution =
        name.name == "aten::convolution" || name.name == "aten::convolution_backward";
    if (name.name.find("aten::") == 0 && !has(c10::DispatchKey::PrivateUse1) &&
        ((composite && has(c10::DispatchKey::CPU)) ||
         (convolution && name.overload_name.empty()))) {
      library.impl(
          c10::toString(name).c_str(), torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
    }
  }
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("set_up", [] {
    static Hooks hooks;
    at::RegisterPrivateUse1HooksInterface(&hooks);
    prefer_cpu_kernels();
  });
}
