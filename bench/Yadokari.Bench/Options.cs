using Yadokari.Core;

namespace Yadokari.Bench;

/// <summary>The options of the command line.</summary>
internal sealed record Options
{
    public const string Usage = """
        usage: bench/compare [--quick] [--rounds N] [--without NAME] [--ways] [--busy N] [--yado FILE] [--out FOLDER] [WORKLOAD...]

        Runs the same programs under Yadokari, QEMU's TCG and natively, in turn, several times over; takes the shortest
        time of each; prints a table with ratios and writes compare.svg and compare.tsv.

          WORKLOAD         run only the workloads whose names begin with one of these words; see --list
          --quick          one round, a quarter of the size
          --rounds N       so many rounds, 1 to 100 (3)
          --without NAME   leave out yadokari, tcg or native
          --ways           also Yadokari with --direct off and --direct always, and how the default compares to the better of them
          --busy N         beside N loops that keep the host's processors busy, 1 to 100
          --yado FILE      the yado command to measure (the repository's)
          --out FOLDER     where to write (bench/out)
          --list           list the workloads
        """;

    public string Repository { get; private init; } = Directory.GetCurrentDirectory();

    public string? YadoPath { get; private init; }

    public string? OutFolder { get; private init; }

    public int Rounds { get; private init; } = 3;

    public int Percent { get; private init; } = 100;

    public bool Ways { get; private init; }

    public int Busy { get; private init; }

    public bool Help { get; private init; }

    public bool List { get; private init; }

    public IReadOnlyList<string> Without { get; private init; } = [];

    public IReadOnlyList<Workload> Workloads { get; private init; } = Workload.All;

    /// <summary>Parses the command line.</summary>
    /// <exception cref="UserErrorException">An option or value is not valid.</exception>
    public static Options Parse(IReadOnlyList<string> arguments)
    {
        var options = new Options();
        var chosen = new HashSet<Workload>();
        var words = new Queue<string>(arguments);
        while (words.TryDequeue(out var word))
        {
            string Value() => words.TryDequeue(out var value) ? value : throw new UserErrorException($"{word} needs a value; see --help.");
            switch (word)
            {
                case "--help" or "-h":
                    options = options with { Help = true };
                    break;
                case "--list":
                    options = options with { List = true };
                    break;
                case "--quick":
                    options = options with { Rounds = 1, Percent = 25 };
                    break;
                case "--rounds":
                    options = options with { Rounds = Number(word, Value()) };
                    break;
                case "--without":
                    options = options with { Without = [.. options.Without, Contender(Value())] };
                    break;
                case "--ways":
                    options = options with { Ways = true };
                    break;
                case "--busy":
                    options = options with { Busy = Number(word, Value()) };
                    break;
                case "--yado":
                    options = options with { YadoPath = Path.GetFullPath(Value()) };
                    break;
                case "--out":
                    options = options with { OutFolder = Path.GetFullPath(Value()) };
                    break;
                case "--repository":
                    options = options with { Repository = Value() };
                    break;
                default:
                    if (word.StartsWith('-'))
                        throw new UserErrorException($"The option {word} is not known; see --help.");
                    chosen.UnionWith(Matching(word));
                    break;
            }
        }
        if (options.Ways && options.Without.Contains("yadokari"))
            throw new UserErrorException("--ways compares ways of Yadokari's with one another: leave out --without yadokari.");
        return chosen.Count == 0 ? options : options with { Workloads = [.. Workload.All.Where(chosen.Contains)] };
    }

    private static IEnumerable<Workload> Matching(string word)
    {
        var matching = Workload.All.Where(workload => workload.Name.StartsWith(word, StringComparison.Ordinal)).ToList();
        return matching.Count > 0 ? matching : throw new UserErrorException($"No workload's name begins with {word}; --list lists them.");
    }

    private static string Contender(string name) =>
        name is "yadokari" or "tcg" or "native" ? name : throw new UserErrorException($"--without takes yadokari, tcg or native, not {name}.");

    private static int Number(string option, string text) =>
        int.TryParse(text, out var number) && number is >= 1 and <= 100
            ? number
            : throw new UserErrorException($"{option} takes a number from 1 to 100, not {text}.");
}
