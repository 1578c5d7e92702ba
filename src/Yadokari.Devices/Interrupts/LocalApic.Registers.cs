using System.Buffers.Binary;

namespace Yadokari.Devices.Interrupts;

/// <content>The registers, by page offset divided by 16, which is also the x2APIC MSR's distance from 0x800.</content>
public sealed partial class LocalApic
{
    private const uint ApicBaseMsr = 0x1B;
    private const uint TscDeadlineMsr = 0x6E0;
    private const uint FirstX2Msr = 0x800;
    private const uint LastX2Msr = 0x8FF;

    private const int RegisterId = 0x02;
    private const int RegisterVersion = 0x03;
    private const int RegisterTaskPriority = 0x08;
    private const int RegisterArbitrationPriority = 0x09;
    private const int RegisterProcessorPriority = 0x0A;
    private const int RegisterEndOfInterrupt = 0x0B;
    private const int RegisterLogicalDestination = 0x0D;
    private const int RegisterDestinationFormat = 0x0E;
    private const int RegisterSpurious = 0x0F;
    private const int RegisterInService = 0x10;
    private const int RegisterTriggerMode = 0x18;
    private const int RegisterRequested = 0x20;
    private const int RegisterError = 0x28;
    private const int RegisterCommandLow = 0x30;
    private const int RegisterCommandHigh = 0x31;
    private const int RegisterLvt = 0x32;
    private const int RegisterInitialCount = 0x38;
    private const int RegisterCurrentCount = 0x39;
    private const int RegisterDivide = 0x3E;
    private const int RegisterSelfIpi = 0x3F;

    /// <summary>Integrated APIC with six vector table entries.</summary>
    private const uint Version = 0x0005_0014;

    private const uint CommandMask = 0x000C_CFFF;
    private const uint SpuriousMask = 0x3FF;

    private static ReadOnlySpan<uint> LvtMasks => [0x0007_00FF, 0x0001_07FF, 0x0001_07FF, 0x0001_A7FF, 0x0001_A7FF, 0x0001_00FF];

    /// <summary>IA32_APIC_BASE, IA32_TSC_DEADLINE and, in x2APIC mode, 0x800 to 0x8FF. False: the guest takes #GP.</summary>
    public bool ReadMsr(uint index, out ulong value)
    {
        value = 0;
        switch (index)
        {
            case ApicBaseMsr:
                value = Volatile.Read(ref _base);
                return true;
            case TscDeadlineMsr:
                lock (_lock)
                {
                    value = _deadline;
                }

                return true;
            case < FirstX2Msr or > LastX2Msr:
                return false;
        }

        int register = (int)(index - FirstX2Msr);
        lock (_lock)
        {
            if (!X2Apic || !IsX2Readable(register))
            {
                return false;
            }

            value = register switch
            {
                RegisterId => (uint)Id,
                RegisterCommandLow => ((ulong)_commandHigh << 32) | _commandLow,
                _ => ReadRegister(register),
            };
            return true;
        }
    }

    /// <summary>IA32_APIC_BASE, IA32_TSC_DEADLINE and, in x2APIC mode, 0x800 to 0x8FF. False: the guest takes #GP.</summary>
    public bool WriteMsr(uint index, ulong value)
    {
        DeferredCalls deferred = default;
        lock (_lock)
        {
            bool taken = index switch
            {
                ApicBaseMsr => WriteBase(value),
                TscDeadlineMsr => WriteDeadline(value, ref deferred),
                < FirstX2Msr or > LastX2Msr => false,
                _ => X2Apic && WriteX2((int)(index - FirstX2Msr), value, ref deferred),
            };
            if (!taken)
            {
                return false;
            }

            Update(ref deferred);
        }

        MakeDeferredCalls(deferred);
        return true;
    }

    /// <inheritdoc/>
    /// <remarks>Registers are 32 bits wide at multiples of 16 (Intel SDM volume 3, 11.4.1); the bytes between them read as zeros.</remarks>
    public void Read(ulong offset, Span<byte> data)
    {
        if (offset >= 0x1000)
        {
            return;
        }

        data.Clear();
        if ((offset & 0xF) >= 4)
        {
            return;
        }

        Span<byte> register = stackalloc byte[4];
        DeferredCalls deferred = default;
        lock (_lock)
        {
            int index = (int)(offset >> 4);
            BinaryPrimitives.WriteUInt32LittleEndian(register, index == RegisterId ? (uint)Id << 24 : ReadRegister(index));
            if (!IsRegister(index))
            {
                RaiseError(ErrorIllegalRegister, ref deferred);
                Update(ref deferred);
            }
        }

        register = register[(int)(offset & 3)..];
        register[..Math.Min(register.Length, data.Length)].CopyTo(data);
        MakeDeferredCalls(deferred);
    }

    /// <inheritdoc/>
    /// <remarks>Only 32-bit (or wider) writes to the start of a register have an effect.</remarks>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= 0x1000 || (offset & 0xF) != 0 || data.Length < 4)
        {
            return;
        }

        int index = (int)(offset >> 4);
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(data);
        DeferredCalls deferred = default;
        lock (_lock)
        {
            switch (index)
            {
                case RegisterLogicalDestination:
                    _logicalDestination = value & 0xFF00_0000;
                    break;
                case RegisterDestinationFormat:
                    _destinationFormat = value | 0x0FFF_FFFF;
                    break;
                case RegisterCommandHigh:
                    _commandHigh = value & 0xFF00_0000;
                    break;
                default:
                    WriteRegister(index, value, ref deferred);
                    break;
            }

            Update(ref deferred);
        }

        MakeDeferredCalls(deferred);
    }

    private static bool IsRegister(int index) => index is RegisterId or RegisterVersion
        or (>= RegisterTaskPriority and <= RegisterEndOfInterrupt)
        or (>= RegisterLogicalDestination and <= RegisterError)
        or (>= RegisterCommandLow and <= RegisterCurrentCount)
        or RegisterDivide;

    /// <summary>Intel SDM volume 3, table 11-6.</summary>
    private static bool IsX2Readable(int register) => IsRegister(register)
        && register is not (RegisterArbitrationPriority or RegisterEndOfInterrupt or RegisterDestinationFormat or RegisterCommandHigh);

    private uint ReadRegister(int index) => index switch
    {
        RegisterVersion => Version,
        RegisterTaskPriority => _taskPriority,
        RegisterArbitrationPriority or RegisterProcessorPriority => (uint)ProcessorPriority(),
        RegisterLogicalDestination => _logicalDestination,
        RegisterDestinationFormat => _destinationFormat,
        RegisterSpurious => _spurious,
        >= RegisterInService and < RegisterInService + 8 => _inService.Word(index - RegisterInService),
        >= RegisterTriggerMode and < RegisterTriggerMode + 8 => _levelTriggered.Word(index - RegisterTriggerMode),
        >= RegisterRequested and < RegisterRequested + 8 => _requested.Word(index - RegisterRequested),
        RegisterError => _error,
        RegisterCommandLow => _commandLow,
        RegisterCommandHigh => _commandHigh,
        >= RegisterLvt and < RegisterLvt + LvtCount => _lvt[index - RegisterLvt],
        RegisterInitialCount => _initialCount,
        RegisterCurrentCount => CurrentCount(),
        RegisterDivide => _divideConfiguration,
        _ => 0,
    };

    private void WriteRegister(int index, uint value, ref DeferredCalls deferred)
    {
        switch (index)
        {
            case RegisterTaskPriority:
                _taskPriority = value & 0xFF;
                break;
            case RegisterEndOfInterrupt:
                EndOfInterrupt(ref deferred);
                break;
            case RegisterSpurious:
                WriteSpurious(value & SpuriousMask);
                break;
            case RegisterError:
                _error = _errorPending;
                _errorPending = 0;
                break;
            case RegisterCommandLow:
                _commandLow = value & CommandMask;
                SendCommand(ref deferred);
                break;
            case >= RegisterLvt and < RegisterLvt + LvtCount:
                WriteLvt(index - RegisterLvt, value, ref deferred);
                break;
            case RegisterInitialCount:
                WriteInitialCount(value);
                break;
            case RegisterDivide:
                WriteDivide(value & 0xB);
                break;
            default:
                if (!IsRegister(index))
                {
                    RaiseError(ErrorIllegalRegister, ref deferred);
                }

                break;
        }
    }

    /// <summary>A WRMSR in x2APIC mode: reserved bits fault (Intel SDM volume 3, 11.12.1.3).</summary>
    private bool WriteX2(int index, ulong value, ref DeferredCalls deferred)
    {
        if (index == RegisterCommandLow)
        {
            if ((uint)value is uint low && (low & ~CommandMask) != 0)
            {
                return false;
            }

            _commandHigh = (uint)(value >> 32);
            _commandLow = low;
            SendCommand(ref deferred);
            return true;
        }

        uint? allowed = index switch
        {
            RegisterTaskPriority => 0xFF,
            RegisterEndOfInterrupt or RegisterError => 0,
            RegisterSpurious => SpuriousMask,
            >= RegisterLvt and < RegisterLvt + LvtCount => LvtMasks[index - RegisterLvt] | LvtRemoteIrr | (1u << 12),
            RegisterInitialCount => uint.MaxValue,
            RegisterDivide => 0xB,
            RegisterSelfIpi => 0xFF,
            _ => null,
        };
        if (allowed is null || (value & ~(ulong)allowed.Value) != 0)
        {
            return false;
        }

        if (index == RegisterSelfIpi)
        {
            if ((_spurious & SoftwareEnable) != 0)
            {
                Request((byte)value, level: false, ref deferred);
            }
        }
        else
        {
            WriteRegister(index, (uint)value, ref deferred);
        }

        return true;
    }

    /// <summary>IA32_APIC_BASE, with the transitions of Intel SDM volume 3, 11.12.5.</summary>
    private bool WriteBase(ulong value)
    {
        const ulong Mode = GlobalEnable | X2ApicEnable;
        const ulong Reserved = 0xFFF0_0000_0000_02FF;
        ulong from = _base & Mode;
        ulong to = value & Mode;
        bool legal = to != X2ApicEnable && !(from == Mode && to == GlobalEnable) && !(from == 0 && to == Mode);
        if ((value & Reserved) != 0 || !legal)
        {
            return false;
        }

        _base = value;
        if (from != to && to == 0)
        {
            ResetRegisters();
        }
        else if (from != to && to == Mode)
        {
            _logicalDestination = X2LogicalId();
            _commandHigh = 0;
        }

        return true;
    }

    private void WriteSpurious(uint value)
    {
        _spurious = value;
        if ((value & SoftwareEnable) == 0)
        {
            // 11.4.7.2: software-disabling sets the mask bits of all LVT entries, which stay set.
            for (int i = 0; i < LvtCount; i++)
            {
                _lvt[i] |= LvtMasked;
            }

            ArmTimer();
        }
    }

    private void WriteLvt(int index, uint value, ref DeferredCalls deferred)
    {
        uint before = _lvt[index];
        value &= LvtMasks[index];
        if ((_spurious & SoftwareEnable) == 0)
        {
            value |= LvtMasked;
        }

        if (index == LvtLint0)
        {
            // Remote IRR is read-only, and means something for level-triggered fixed interrupts only.
            bool level = (value & LvtLevel) != 0 && Delivery(value) == ApicDelivery.Fixed;
            _lvt[index] = value | (level ? before & LvtRemoteIrr : 0);
            if (level)
            {
                RaiseLevelLint(ref _lvt[index], _lint[0], ref deferred);
            }

            return;
        }

        _lvt[index] = value;
        if (index == LvtTimer)
        {
            TimerEntryChanged(before);
        }
    }

    /// <summary>The interrupt command register was written: an IPI (Intel SDM volume 3, 11.6.1).</summary>
    private void SendCommand(ref DeferredCalls deferred)
    {
        const uint Assert = 1u << 14;
        const uint LevelTriggered = 1u << 15;
        var delivery = (ApicDelivery)((_commandLow >> 8) & 7);
        byte vector = (byte)_commandLow;
        if (delivery == ApicDelivery.Init && (_commandLow & (Assert | LevelTriggered)) == LevelTriggered)
        {
            return; // INIT level de-assert: it synchronised arbitration IDs, which no longer exist.
        }

        if (delivery is ApicDelivery.Fixed or ApicDelivery.LowestPriority && vector < 16)
        {
            RaiseError(ErrorSendIllegalVector, ref deferred);
            return;
        }

        if (delivery == ApicDelivery.ExtInt)
        {
            return; // Not an IPI.
        }

        deferred.Send = true;
        deferred.Shorthand = (ApicShorthand)((_commandLow >> 18) & 3);
        deferred.Message = new ApicMessage(
            Destination: X2Apic ? _commandHigh : _commandHigh >> 24,
            Logical: (_commandLow & (1u << 11)) != 0,
            Delivery: delivery,
            Vector: vector,
            Level: false,
            Wide: X2Apic);
    }
}
