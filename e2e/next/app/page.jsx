// Made once, when the application is built: it has an ETag and can be asked for again.
export default function Page() {
  return (
    <main>
      <h1>A page made beforehand</h1>
      {Array.from({ length: 200 }, (_, line) => (
        <p key={line}>Line {line} says what the lines around it say.</p>
      ))}
    </main>
  );
}
