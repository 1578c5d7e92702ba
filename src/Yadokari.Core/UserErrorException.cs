namespace Yadokari.Core;

/// <summary>
/// Something that the user can mend: one sentence that names the thing, the value and the remedy. The command line prints it,
/// without a stack trace, and ends with exit code 2. Thrown before any guest runs, never because of what a guest does.
/// </summary>
public class UserErrorException(string message) : Exception(message);
