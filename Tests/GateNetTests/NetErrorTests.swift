import GateNet
import Glibc
import Testing

@Test(arguments: [
  (NetError.system(.read, errno: EIO), "Input/output error"), (.addressInUse, "another port"),
  (.addressUnavailable(errno: EACCES), "Permission denied"), (.addressSyntax, "[IPv6 address]:port"),
  (.unresolvable(code: EAI_NONAME), "cannot be resolved"), (.tooManyDescriptors(errno: EMFILE), "ulimit -n"),
  (.timedOut, "in time"), (.refused, "nobody"), (.path, "shorter"), (.alreadyServed, "runs already"),
  (.peerNotAllowed(uid: 7), "user 7"),
])
func errorsSayWhatToDo(error: NetError, words: String) {
  #expect(error.description.contains(words))
}
