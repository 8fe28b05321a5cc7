import { Suspense } from "react";
import { opened } from "../gates";

async function Late({ searchParams }) {
  await opened((await searchParams).gate);
  return <p>this was made last</p>;
}

export default function Page({ searchParams }) {
  return (
    <main>
      <h1>this was made first</h1>
      <Suspense fallback={<p>wait</p>}>
        <Late searchParams={searchParams} />
      </Suspense>
    </main>
  );
}
