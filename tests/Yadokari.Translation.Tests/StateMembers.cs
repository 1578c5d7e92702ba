using System.Collections;
using System.Reflection;
using Yadokari.X86;
using Yadokari.X86.Msrs;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>The members of <see cref="X86State"/>, found by reflection: one that is new is compared and given values without more ado.</summary>
internal static class StateMembers
{
    private static readonly PropertyInfo[] s_members = typeof(X86State).GetProperties(BindingFlags.Public | BindingFlags.Instance);

    /// <summary>The names of all members.</summary>
    public static IEnumerable<string> Names => s_members.Select(m => m.Name);

    /// <summary>The members in which two states differ, with both values.</summary>
    public static string Difference(X86State one, X86State other) => string.Join("; ", s_members
        .Select(m => (m.Name, One: Show(m.GetValue(one)), Other: Show(m.GetValue(other))))
        .Where(m => m.One != m.Other)
        .Select(m => $"{m.Name}: {Shorten(m.One, m.Other)}"));

    /// <summary>Gives a member a random value that a vCPU may have, other than the one it has.</summary>
    public static void Randomise(X86State state, string name, CpuModel model, Random random)
    {
        PropertyInfo member = s_members.Single(m => m.Name == name);
        string before = Show(member.GetValue(state));
        do
        {
            switch (member.GetValue(state))
            {
                case var _ when name == nameof(X86State.PendingEvent):
                    state.PendingEvent = new PendingEvent((byte)random.Next(256), random.Next(2) == 0, random.Next(2) == 0 ? null : (uint)random.Next());
                    break;
                case ulong when name == nameof(X86State.PendingDebugExceptions):
                    state.PendingDebugExceptions = (ulong)random.Next(16);
                    break;
                case ulong when name == nameof(X86State.Rflags):
                    state.Rflags = ((ulong)random.Next() & (Rflags.Defined | Rflags.RF) & ~Rflags.VM) | Rflags.Fixed;
                    break;
                case byte[] area:
                    RandomiseXsave(area, random);
                    break;
                case ulong[] registers:
                    for (int i = 0; i < registers.Length; i++)
                    {
                        registers[i] = (ulong)random.NextInt64();
                    }

                    break;
                case SegmentState[] segments:
                    for (int i = 0; i < segments.Length; i++)
                    {
                        segments[i] = Segment(random);
                    }

                    break;
                case Dictionary<uint, ulong> registers:
                    RandomiseMsrs(registers, model, random);
                    break;
                case SegmentState:
                    member.SetValue(state, Segment(random));
                    break;
                case TableState:
                    member.SetValue(state, new TableState((ulong)random.NextInt64(), (ushort)random.Next()));
                    break;
                case ActivityState:
                    state.Activity = (ActivityState)random.Next(4);
                    break;
                case bool value:
                    member.SetValue(state, !value);
                    break;
                case int:
                    member.SetValue(state, random.Next(3));
                    break;
                case ushort:
                    member.SetValue(state, (ushort)random.Next());
                    break;
                case ulong:
                    member.SetValue(state, (ulong)random.NextInt64());
                    break;
                default:
                    Assert.Fail($"{name} is new: say here which values it can have.");
                    break;
            }
        }
        while (Show(member.GetValue(state)) == before);
    }

    private static SegmentState Segment(Random random) => new((ushort)random.Next(), (ulong)random.NextInt64(), (uint)random.Next(), (ushort)(random.Next() & 0xF0FF));

    // x87, SSE and whatever else the area has a place for, all of it in use; the control words are left sound.
    private static void RandomiseXsave(byte[] area, Random random)
    {
        random.NextBytes(area.AsSpan(160, 256));
        for (int register = 0; register < 8; register++)
        {
            random.NextBytes(area.AsSpan(32 + (16 * register), 10));
        }

        random.NextBytes(area.AsSpan(576));
        BitConverter.TryWriteBytes(area.AsSpan(6), (ushort)random.Next(0x800));
        random.NextBytes(area.AsSpan(8, 16));
        BitConverter.TryWriteBytes(area.AsSpan(24), 0x1F80 | (random.Next(4) << 13));
        BitConverter.TryWriteBytes(area.AsSpan(512), HostXsave.Mask);
    }

    // Those that are stored, with values whose bytes are memory types, which all of them take; and those that have effects.
    private static void RandomiseMsrs(Dictionary<uint, ulong> registers, CpuModel model, Random random)
    {
        ReadOnlySpan<byte> types = [0, 1, 4, 5, 6];
        Span<byte> bytes = stackalloc byte[8];
        foreach (MsrDescription register in model.Msrs.Where(m => registers.ContainsKey(m.Index)))
        {
            for (int i = 0; i < 8; i++)
            {
                bytes[i] = types[random.Next(types.Length)];
            }

            ulong mask = register.Kind == MsrKind.Stored ? register.Writable & ((1ul << model.Cpuid.PhysicalAddressBits) - 1) : uint.MaxValue;
            registers[register.Index] = register.Index == MsrIndex.Pat ? BitConverter.ToUInt64(bytes) : BitConverter.ToUInt64(bytes) & mask;
        }
    }

    private static string Show(object? value) => value switch
    {
        Dictionary<uint, ulong> registers => string.Join(' ', registers.OrderBy(r => r.Key).Select(r => $"{r.Key:X}={r.Value:X}")),
        byte[] bytes => string.Join(' ', bytes.Chunk(16).Select((b, i) => $"{16 * i:X3}:{Convert.ToHexString(b)}")),
        ulong number => $"{number:X}",
        ushort number => $"{number:X}",
        SegmentState s => $"{s.Selector:X}/{s.Base:X}/{s.Limit:X}/{s.Attributes:X}",
        TableState t => $"{t.Base:X}/{t.Limit:X}",
        IEnumerable list => string.Join(' ', list.Cast<object>().Select(Show)),
        _ => value?.ToString() ?? "none",
    };

    private static string Shorten(string one, string other)
    {
        var different = one.Split(' ').Zip(other.Split(' ')).Where(p => p.First != p.Second).Select(p => $"{p.First} and {p.Second}");
        return string.Join(", ", different.Take(4));
    }
}
