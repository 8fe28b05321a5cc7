// What is answered piece by piece waits here until the test has seen what came before. Pages and routes are bundled
// apart, so that a module's own variable would not be shared.
const gates = (globalThis.gates ??= new Map());

function gate(name) {
  if (!gates.has(name)) {
    const made = {};
    made.opened = new Promise((resolve) => (made.open = resolve));
    gates.set(name, made);
  }
  return gates.get(name);
}

export const opened = (name) => gate(name).opened;
export const open = (name) => gate(name).open();
