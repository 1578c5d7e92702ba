using Yadokari.Core.Lifetimes;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>A device with what stands behind it, for one life; and what guests may want from it.</summary>
internal abstract class Target
{
    private readonly DisposableStack _behind = new();

    /// <summary>The device; disposed of by who has the target.</summary>
    public abstract VirtioDevice Device { get; }

    /// <summary>Whether each request in a queue comes back by itself; else buffers wait there for what the host has to say.</summary>
    public virtual bool Answers(int queue) => true;

    /// <summary>A request such as a guest might make: mostly sensible.</summary>
    public abstract Request Make(Random random, int queue);

    /// <summary>What was reached by a request that came back, in a word.</summary>
    public virtual string Judge(int queue, byte[] reply, uint written) => "done";

    /// <summary>The host does something meanwhile.</summary>
    public virtual void Outside(Random random)
    {
    }

    /// <summary>A guest that does all right is served.</summary>
    public abstract void Work(Driver driver, Random random);

    /// <summary>After the device has gone, nothing but what a guest may change has changed, nor is anything in its RAM that it may not know.</summary>
    public virtual void Check(GuardedMemory ram)
    {
    }

    /// <summary>One life: guests of all kinds, one after the other, at the same device.</summary>
    public static void Live(Func<string, Target> make, GuardedMemory ram, Random random, Tally tally, string folder)
    {
        ram.Renew();
        Target target = make(folder);
        using (var slot = new Slot(target.Device, ram))
        {
            for (int rounds = random.Next(1, 10); rounds > 0; rounds--)
            {
                if (random.Next(2) == 0)
                {
                    target.KeepRules(new Driver(slot, random, all: random.Next(2) == 0), random, tally);
                    Assert.Equal(0, slot.Status & Slot.NeedsReset);
                }
                else
                {
                    target.BreakRules(slot, random);
                    tally.Add((slot.Status & Slot.NeedsReset) != 0 ? "broken" : "not broken");
                }

                target.Work(new Driver(slot, random, all: true), random);
                ram.Check();
                tally.Add("guests");
            }

            if (random.Next(2) == 0)
            {
                target.BreakRules(slot, random); // The machine ends in the midst of it.
            }
        }

        target._behind.Dispose();
        ram.Check();
        target.Check(ram);
    }

    /// <summary>Has what stands behind the device disposed of after it.</summary>
    protected T Behind<T>(T host)
        where T : IDisposable => _behind.Push(host);

    /// <summary>Bytes with some changed, missing or too many, as often as not.</summary>
    protected static byte[] Mutate(Random random, byte[] bytes)
    {
        if (random.Next(2) == 0)
        {
            return bytes;
        }

        for (int changes = random.Next(1, 4); changes > 0 && bytes.Length > 0; changes--)
        {
            int at = random.Next(bytes.Length);
            switch (random.Next(8))
            {
                case 0:
                    bytes = bytes[..at];
                    break;
                case 1:
                    bytes = [.. bytes[..at], (byte)random.Next(256), .. bytes[at..]];
                    break;
                case 2:
                    bytes[at] = (byte)(random.Next(2) * 255);
                    break;
                case 3:
                    bytes[at] = (byte)(bytes[at] + random.Next(-2, 3));
                    break;
                case 4:
                    bytes[at] = (byte)random.Next(256);
                    break;
                default:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
            }
        }

        return bytes;
    }

    // What is asked for may make no sense, but the queues are right: each request comes back.
    private void KeepRules(Driver driver, Random random, Tally tally)
    {
        for (int batches = random.Next(1, 30); batches > 0; batches--)
        {
            int queue = random.Next(driver.Queues);
            for (int requests = random.Next(1, 6); requests > 0; requests--)
            {
                driver.TrySubmit(queue, Make(random, queue), longLived: !Answers(queue));
            }

            Outside(random);
            for (int each = 0; each < driver.Queues; each++)
            {
                void Take()
                {
                    while (driver.TryTake(each, out byte[] reply, out uint written))
                    {
                        tally.Add(Judge(each, reply, written));
                    }
                }

                Take();
                if (Answers(each))
                {
                    Slot.WaitFor(() => { Take(); return driver.Waiting(each) == 0; }, $"requests in queue {each}");
                }
            }
        }
    }

    private void BreakRules(Slot slot, Random random)
    {
        slot.Reset();
        var wild = new WildDriver(slot, random, queue => Make(random, queue));
        wild.Begin();

        // Another processor of the guest's, as often as not.
        var other = new Random(random.Next());
        Task? meanwhile = random.Next(2) == 0 ? Task.Run(() => new WildDriver(slot, other, queue => Make(other, queue)).Act(other.Next(100))) : null;
        for (int parts = random.Next(1, 8); parts > 0; parts--)
        {
            wild.Act(random.Next(20));
            Outside(random);
        }

        meanwhile?.GetAwaiter().GetResult();
    }
}
