// How the search ranks its results: titles first, and pages before the attributes of classes.
var Scorer = {
  score: ([, , , , score, , kind]) => (kind === "title" ? score + 6 : score),
  objNameMatch: 11,
  objPartialMatch: 2,
  objPrio: { 0: 5, 1: 0, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 10,
  term: 5,
  partialTerm: 2,
};
