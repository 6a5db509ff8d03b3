"""What can go wrong between this machine and a device. All of them mean: could not run (exit 2)."""

from __future__ import annotations

from fiqa.errors import ToolkitError


class DeviceError(ToolkitError):
    """Base of what a device, its cable or its runner did."""


class ToolError(DeviceError):
    """adb, ssh, a compiler or an emulator on this machine is missing or fails."""


class DeviceNotFound(DeviceError):
    """No such device is attached."""


class SeveralDevices(DeviceError):
    """More than one device fits, and nobody said which."""


class DeviceUnauthorized(DeviceError):
    """The device is there and has not accepted this machine's key."""


class DeviceOffline(DeviceError):
    """The connection broke, or the device stopped answering."""


class DeviceTimeout(DeviceError):
    """A command took longer than it may."""


class DeviceRebooted(DeviceError):
    """The device started anew while it was measured."""


class TransferError(DeviceError):
    """A file did not arrive as it was sent."""


class NoSpaceError(DeviceError):
    """The device's disk is full."""


class WrongAbi(DeviceError):
    """Built for another processor or another C library than the device has."""


class LibraryError(DeviceError):
    """The inference library cannot be loaded, or lacks a function."""


class ModelError(DeviceError):
    """The library on the device refuses the model."""


class RunnerInputError(DeviceError):
    """The runner cannot read the pictures, or they do not fit the model."""


class InferenceError(DeviceError):
    """The model failed while it ran."""


class RunnerCrashed(DeviceError):
    """The runner was killed by a signal."""


class RunnerError(DeviceError):
    """The runner refused its arguments, or ended in a way that is none of the others."""


class ResultError(DeviceError):
    """The runner's result is missing, cut short, foreign or contradicts itself."""


class ClockError(DeviceError):
    """The device's clock and this machine's disagree about how long the work took."""


class UnstableScores(DeviceError):
    """The same model gave the same picture two scores."""


class ResumeError(DeviceError):
    """The file to resume belongs to other models, data, settings or another device."""
