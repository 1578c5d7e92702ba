using System.Text.Json.Serialization;

namespace Yadokari.Host.Control;

/// <summary>Why a request is refused. Thrown before anything of the request is done.</summary>
/// <param name="status">The status code (RFC 9110, 15), 400 to 599.</param>
/// <param name="location">Where the error is: a JSON pointer into the body, or a header's name; null for the request itself.</param>
/// <param name="problem">What is wrong: the first half of a sentence.</param>
/// <param name="remedy">What to do about it: the second half.</param>
internal sealed class HttpError(int status, string? location, string problem, string remedy) : Exception($"{problem}: {remedy}.")
{
    /// <summary>The status code.</summary>
    public int Status => status;

    /// <summary>The methods of the resource, for the header <c>Allow</c>; null except for status 405.</summary>
    public string? Allow { get; init; }

    /// <summary>The body of the response.</summary>
    public Problem Body => new(HttpResponse.ReasonOf(status), status, Message, location, problem, remedy);
}

/// <summary>The body of a response that refuses a request (<c>application/problem+json</c>, RFC 9457).</summary>
/// <param name="Title">The status in words.</param>
/// <param name="Status">The status code.</param>
/// <param name="Detail">Problem and remedy in one sentence.</param>
/// <param name="Field">Where the error is: a JSON pointer into the body, or a header's name; absent for the request itself.</param>
/// <param name="What">What is wrong.</param>
/// <param name="Remedy">What to do about it.</param>
internal sealed record Problem(string Title, int Status, string Detail, string? Field, [property: JsonPropertyName("problem")] string What, string Remedy);
