// What piscina's threads run.

export const add = ({ a, b }) => a + b;
export const echo = (data) => data;
export const spin = () => {
  for (;;);
};
