using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

namespace Yadokari.Architecture.Tests;

/// <summary>A method fits a reader's eye, and a class a reader's head.</summary>
public sealed class LengthTests
{
    private const int LongestMethod = 100;
    private const int LongestClass = 800;

    // Classes that are longer today, and their lines: they can only shrink.
    private static readonly Dictionary<string, int> s_longClasses = new()
    {
        ["Yadokari.Translation.Code.Translator"] = 2253,
        ["Yadokari.Translation.Vcpu"] = 1355,
        ["Yadokari.Disks.Qcow2.Qcow2Disk"] = 1167,
        ["Yadokari.Devices.Interrupts.LocalApic"] = 1133,
        ["Yadokari.Shares.FolderShare"] = 1090,
        ["Yadokari.Devices.Storage.FloppyController"] = 1013,
    };

    private static readonly Lazy<SyntaxNode[]> s_sources = new(() => [.. Directory
        .EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories)
        .Where(file => !file.Contains("/obj/", StringComparison.Ordinal))
        .Select(file => CSharpSyntaxTree.ParseText(File.ReadAllText(file), path: file).GetRoot())]);

    [Fact]
    public void No_method_is_longer_than_100_lines()
    {
        SyntaxNode[] methods = [.. s_sources.Value.SelectMany(source => source.DescendantNodes()).Where(IsMethod)];
        Assert.True(methods.Length > 4000, $"Only {methods.Length} methods were found.");
        Refuse(methods.Where(method => Lines(method) > LongestMethod).Select(method => $"{NameOf(method)} has {Lines(method)} lines: split it into steps that have names."));
    }

    [Fact]
    public void No_class_is_longer_than_800_lines_over_its_parts()
    {
        Dictionary<string, int> classes = s_sources.Value
            .SelectMany(source => source.DescendantNodes(node => node is not TypeDeclarationSyntax).OfType<TypeDeclarationSyntax>())
            .GroupBy(FullName, Lines)
            .ToDictionary(parts => parts.Key, parts => parts.Sum());
        Assert.True(classes.Count > 500, $"Only {classes.Count} classes were found.");
        Refuse(classes.Where(entry => entry.Value > s_longClasses.GetValueOrDefault(entry.Key, LongestClass))
            .Select(entry => $"{entry.Key} has {entry.Value} lines: take out what has rules of its own."));
        Refuse(s_longClasses.Keys.Where(name => classes.GetValueOrDefault(name) <= LongestClass)
            .Select(name => $"{name} is not too long: take it off this test's list."));
    }

    // All of them at once, and whole.
    private static void Refuse(IEnumerable<string> findings) => Assert.False(findings.Any(), string.Join('\n', findings));

    // Constructors, operators and finalizers among them. A property or an indexer with an arrow has no accessor of its own.
    private static bool IsMethod(SyntaxNode node) => node is BaseMethodDeclarationSyntax or AccessorDeclarationSyntax or LocalFunctionStatementSyntax
        or PropertyDeclarationSyntax { ExpressionBody: not null } or IndexerDeclarationSyntax { ExpressionBody: not null };

    // From its first line to its last, attributes among them: the comment before it is no part of the span.
    private static int Lines(SyntaxNode node)
    {
        FileLinePositionSpan span = node.SyntaxTree.GetLineSpan(node.Span);
        return span.EndLinePosition.Line - span.StartLinePosition.Line + 1;
    }

    private static string NameOf(SyntaxNode method) => Path.GetRelativePath(Path.Combine(Repository.Root, "src"), method.SyntaxTree.FilePath) + " " + method switch
    {
        MethodDeclarationSyntax named => named.Identifier.Text,
        ConstructorDeclarationSyntax constructor => constructor.Identifier.Text,
        DestructorDeclarationSyntax finalizer => "~" + finalizer.Identifier.Text,
        LocalFunctionStatementSyntax local => local.Identifier.Text,
        PropertyDeclarationSyntax property => property.Identifier.Text,
        AccessorDeclarationSyntax { Parent.Parent: PropertyDeclarationSyntax property } accessor => property.Identifier.Text + "." + accessor.Keyword.Text,
        AccessorDeclarationSyntax { Parent.Parent: EventDeclarationSyntax raised } accessor => raised.Identifier.Text + "." + accessor.Keyword.Text,
        AccessorDeclarationSyntax accessor => "this." + accessor.Keyword.Text,
        IndexerDeclarationSyntax => "this",
        OperatorDeclarationSyntax operation => "operator " + operation.OperatorToken.Text,
        ConversionOperatorDeclarationSyntax conversion => "operator " + conversion.Type,
        _ => throw new InvalidOperationException($"A {method.Kind()} has no name here yet: give it one."),
    };

    private static string FullName(TypeDeclarationSyntax type) =>
        $"{type.FirstAncestorOrSelf<BaseNamespaceDeclarationSyntax>()?.Name}.{type.Identifier.Text}{(type.Arity == 0 ? "" : $"`{type.Arity}")}";
}
